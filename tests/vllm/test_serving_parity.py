"""`promptpool serve-check` against vLLM's own OpenAI-compatible server, on exports of the demo's model."""

from pathlib import Path

import pytest
from promptpool.cli.command import main
from tiny import tiny_adapter
from tiny_export import export, tables

NANO = Path(__file__).parents[2] / "workflow/resources/nano-docs"
PROMPT = 'This sentence: "{text}" belongs to the following cluster:'


@pytest.mark.parametrize("pooling", ["last", "mean", "eos"])
def test_vllms_server_gives_the_vectors_of_a_merged_export(pooling, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    adapter = tiny_adapter(tmp_path / "adapter", NANO)
    out = export(
        tmp_path / "out", NANO, adapter, tables(tmp_path / "tables"), template=PROMPT, pooling=pooling,
        max_text_tokens=64,
    )  # fmt: skip
    status = main(["serve-check", str(out)])
    shown = capsys.readouterr().out
    assert "vLLM: passed" in shown and status == 0, shown
    notes = out.with_name("out.serving.md").read_text()
    assert "Send plain texts." in notes and "--runner pooling" in notes


def test_an_adapter_beside_its_base_is_left_out_with_a_reason(tmp_path, capsys):
    adapter = tiny_adapter(tmp_path / "adapter", NANO)
    out = export(tmp_path / "out", NANO, adapter, tables(tmp_path / "tables"), template=PROMPT, merged=False)
    main(["serve-check", str(out)])
    assert (
        "vLLM: cannot load an adapter beside its base model; export it with `merged: true`" in capsys.readouterr().out
    )
