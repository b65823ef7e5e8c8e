"""`promptpool serve-check` against vLLM's own OpenAI-compatible server, on exports of the demo's model."""

import json
import re
from pathlib import Path

import pytest
from promptpool.cli.command import main
from promptpool.export.check_serving import check_serving
from tiny import tiny_adapter
from tiny_export import export, tables

NANO = Path(__file__).parents[2] / "workflow/resources/nano-docs"
PROMPT = 'This sentence: "{text}" belongs to the following cluster:'


@pytest.mark.parametrize("pooling", ["last", "mean", "eos"])
def test_vllms_server_gives_the_vectors_of_a_merged_export(pooling, tmp_path, capsys):
    adapter = tiny_adapter(tmp_path / "adapter", NANO)
    out = export(
        tmp_path / "out", NANO, adapter, tables(tmp_path / "tables"), template=PROMPT, pooling=pooling,
        max_text_tokens=64,
    )  # fmt: skip
    status = main(["serve-check", str(out)])
    shown = capsys.readouterr().out
    assert re.search(r"^vLLM [\d.]+\S*: passed$", shown, re.M) and status == 0, shown
    notes = out.with_name("out.serving.md").read_text()
    assert "Send plain texts." in notes and "--runner pooling" in notes


def test_an_adapter_beside_its_base_is_left_out_with_a_reason(tmp_path, capsys):
    adapter = tiny_adapter(tmp_path / "adapter", NANO)
    out = export(tmp_path / "out", NANO, adapter, tables(tmp_path / "tables"), template=PROMPT, merged=False)
    main(["serve-check", str(out)])
    assert (
        "vLLM: cannot load an adapter beside its base model; export it with `merged: true`" in capsys.readouterr().out
    )


def test_the_stage_of_a_study_records_what_vllm_gave(tmp_path):
    out = export(tmp_path / "out", NANO, None, tables(tmp_path / "tables"), template=PROMPT, max_text_tokens=64)
    check_serving(str(out), str(tmp_path / "serving.json"), str(tmp_path / "serving.md"), kinds=["vllm"])
    (server,) = json.loads((tmp_path / "serving.json").read_text())["servers"]
    assert server["passed"] and server["dtype"] == "float32" and server["version"]
    assert server["ways"][-1]["lowest_cosine"] >= 0.9999 and server["ways"][-1]["texts_per_second"] > 0
    assert "--runner pooling" in (tmp_path / "serving.md").read_text()
