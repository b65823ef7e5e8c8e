"""`promptpool serve-check` against servers on loopback: right ones, and those that lose the prompt without a word."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_openai import FakeServer, fake_openai
from promptpool.cli.command import main
from promptpool.errors import PromptpoolError
from promptpool.export.contents import faults_of_export
from promptpool.export.running_engine import running
from promptpool.export.served_parity import COUNT, Reference
from promptpool.export.serving_engines import ServingEngine, engines
from promptpool.generation import server_client
from stand_in_engine import processes, program, server_program
from tiny_export import PROMPT, export

Vectors = Callable[[list[str]], np.ndarray]


@pytest.fixture
def out(exported, tmp_path) -> Path:
    """The export in a folder of its own, beside which notes are written."""
    return Path(shutil.copytree(exported, tmp_path / "out"))


@pytest.fixture
def server(monkeypatch) -> Iterator[FakeServer]:
    monkeypatch.setattr(server_client, "FIRST_WAIT", 0.01)
    with fake_openai() as running_server:
        yield running_server


def serves(server: FakeServer, vectors: Vectors) -> None:
    server.embed = lambda text: [float(number) for number in vectors([text])[0]]


def checked(capsys, out: Path, *given: str) -> tuple[int, str]:
    status = main(["serve-check", str(out), *given])
    shown = capsys.readouterr()
    return status, shown.out + "".join(line for line in shown.err.splitlines() if line.startswith("Error: "))


def test_a_server_that_gives_the_exports_vectors_passes_and_gets_notes(out, server, capsys):
    serves(server, Reference(out).vectors)
    status, shown = checked(capsys, out, "--url", server.url)
    assert status == 0 and "passed" in shown and "lowest cosine 1.000000" in shown
    assert sum(len(body["input"]) for body in server.bodies) == 2 * COUNT + 1  # once more when warm, and one too long
    assert "A text beyond the export's limit is cut as the export cuts it" in shown
    assert {body["model"] for body in server.bodies} == {"writer"}  # what it lists
    assert not [text for body in server.bodies for text in body["input"] if PROMPT[:14] in text and "{" not in text]
    notes = out.with_name("out.serving.md").read_text()
    assert "Send plain texts." in notes and "Lowest cosine 1.000000" in notes
    assert faults_of_export(out) == []  # the export itself is as it was


@pytest.mark.parametrize(
    ("kept", "words"),
    [(0, "the prompt is lost"), (3, "the prompt is lost"), (-1, "only the first and the last token are kept")],
    ids=["nothing is kept", "an end of text is added", "first and last are kept"],
)  # fmt: skip
def test_a_server_that_loses_the_prompt_is_caught(out, server, capsys, kept, words):
    lossy = Reference(out).without_prompt()[kept][1]
    serves(server, lossy)
    status, shown = checked(capsys, out, "--url", server.url)
    assert status == 1 and "FAILED" in shown and words in shown
    assert "the first text that differs: " in shown and "Do not serve it like this" in shown
    assert not out.with_name("out.serving.md").exists()


def test_where_the_template_itself_gives_the_vectors_the_check_says_so(out, server, capsys):
    """An engine without the post-processor. This prompt's tokens and a text's do not merge."""
    serves(server, Reference(out).without_prompt()[1][1])  # only its begin of text is kept
    status, shown = checked(capsys, out, "--url", server.url)
    assert status == 0, shown
    assert "sent plain texts: lowest cosine" in shown and "sent the prompt's template with each text" in shown
    assert "It cannot carry the prompt itself. Send it with each text: " + repr(PROMPT) in shown
    assert "the prompt is lost" in shown
    notes = out.with_name("out.serving.md").read_text()
    assert f"Send it with each text: `{PROMPT}`" in notes


def test_where_the_tokenizer_is_at_fault_ids_are_sent(out, server, capsys):
    """An engine whose own tokens of prompt and text together are others, as those of most are."""
    reference, bare = Reference(out), Reference(out).without_prompt()[0][1]

    def embed(given: str | list[int]) -> list[float]:
        if isinstance(given, str):
            return [float(number) for number in bare([given])[0]]
        features = reference.model.tokenizer.pad({"input_ids": [given]}, return_tensors="pt")
        return reference.model(features)["sentence_embedding"][0].tolist()

    server.embed = embed
    status, shown = checked(capsys, out, "--url", server.url)
    assert status == 0, shown
    assert "sent the ids that the export's own tokenizer makes: lowest cosine 1.000000" in shown
    assert "100 texts differ; the first text that differs: " in shown and "Send ids: " in shown
    notes = out.with_name("out.serving.md").read_text()
    assert "Plain texts give other vectors." in notes and '["input_ids"]' in notes and "Lowest cosine 1.0" in notes


def test_another_pooling_or_a_swapped_text_is_caught_by_the_first_text(out, server, capsys, base, adapter, given):
    other = export(out.with_name("other"), base, adapter, given, pooling="mean")
    serves(server, Reference(other).vectors)
    status, shown = checked(capsys, out, "--url", server.url)
    assert status == 1 and "the prompt is lost" not in shown and "the first text that differs" in shown
    right = Reference(out).vectors
    odd = Reference(out).texts()[40]
    serves(server, lambda texts: right(["something else"] if texts == [odd] else texts))
    status, shown = checked(capsys, out, "--url", server.url)
    assert status == 1 and f"the first text that differs: {odd[:60]!r}" in shown


def test_vectors_of_another_length_pass_and_are_said_to_be(out, server, capsys):
    right = Reference(out).vectors
    serves(server, lambda texts: 3 * right(texts))
    status, shown = checked(capsys, out, "--url", server.url)
    assert status == 0 and "another length (3.0000 times): normalise them" in shown


def test_what_happens_to_long_texts_is_said(out, server, capsys):
    right = Reference(out).vectors
    serves(server, lambda texts: right([text[-30:] if len(text) > 200 else text for text in texts]))
    status, shown = checked(capsys, out, "--url", server.url)
    assert status == 0 and "A text beyond the export's limit is DIFFERS (cosine " in shown
    serves(server, right)
    server.rule = lambda text: "long" if len(text) > 200 else None
    status, shown = checked(capsys, out, "--url", server.url)
    assert status == 0 and "limit is refused: cut texts before you send them" in shown


def test_rounding_passes_only_where_it_is_allowed(out, server, capsys):
    right = Reference(out).vectors
    noise = np.random.default_rng(0)
    serves(server, lambda texts: right(texts) + noise.normal(0, 0.01, right(texts).shape))
    assert checked(capsys, out, "--url", server.url)[0] == 1
    assert checked(capsys, out, "--url", server.url, "--least", "0.99")[0] == 0


def test_another_model_is_one_line(out, server, capsys):
    status, shown = checked(capsys, out, "--url", server.url)
    assert status == 2 and "vectors of 8 dimensions, and the export has 32; it serves another model" in shown


def test_a_model_is_asked_for_by_name_and_with_its_key(out, server, capsys, monkeypatch):
    from fake_openai import KEY

    monkeypatch.setenv("SERVE_KEY", KEY)
    server.needs_key = True
    serves(server, Reference(out).vectors)
    given = ["--url", server.url, "--model", "mine", "--key-variable", "SERVE_KEY"]
    status, shown = checked(capsys, out, *given)
    assert status == 0 and {body["model"] for body in server.bodies} == {"mine"} and KEY not in shown
    status, shown = checked(capsys, out, "--url", server.url)
    assert status == 2 and "refuses (401" in shown


def test_no_server_and_no_export_are_one_line(out, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("promptpool.export.serving_engines.interpreter", refuse)
    status, shown = checked(capsys, out)
    assert status == 2 and "no server was found here; start one, and give its address with --url" in shown
    for name in ("vLLM: not installed", "no text-embeddings-router in PATH", "no llama-server in PATH"):
        assert name in shown
    assert "no exported model; name results/<run>/models/<export>" in checked(capsys, tmp_path)[1]
    assert "no server answers at http://127.0.0.1:9/v1" in checked(capsys, out, "--url", "http://127.0.0.1:9/v1")[1]


def refuse(_: object) -> str:
    raise PromptpoolError("no vLLM")


# --- engines that are started --------------------------------------------------------------------------


def test_a_server_that_is_found_is_started_checked_and_ended(out, tmp_path, capsys, monkeypatch):
    program(tmp_path / "bin", "text-embeddings-router", server_program())
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("promptpool.export.serving_engines.interpreter", refuse)
    status, shown = checked(capsys, out)
    assert status == 0 and "Text Embeddings Inference: passed" in shown
    notes = out.with_name("out.serving.md").read_text()
    assert "\ntext-embeddings-router --model-id EXPORT --dtype float32 --hostname 127.0.0.1 --port 8000" in notes
    assert "Lowest cosine 1.000000, in float32." in notes
    assert re.search(r"\d texts a second on .* cores, once warm, 16 texts a request, one at a time\.", notes)
    assert not processes(str(tmp_path / "bin"))


def test_a_server_that_ends_or_stays_silent_is_one_line(tmp_path):
    ends = program(tmp_path / "bin", "ends", "#!/bin/sh\necho loading\necho error: no such model\nexit 3\n")
    with (
        pytest.raises(PromptpoolError, match="ends ended with 3: error: no such model"),
        running(ServingEngine("ends", [str(ends)], "--port")),
    ):
        pass
    silent = program(tmp_path / "bin", "silent", "#!/bin/sh\nexec sleep 60\n")
    with (
        pytest.raises(PromptpoolError, match="silent did not answer in time"),
        running(ServingEngine("silent", [str(silent)], "--port"), ready=0.5),
    ):
        pass


def test_engines_say_why_they_are_left_out(out, tmp_path, monkeypatch):
    for name in ("text-embeddings-router", "llama-server"):
        program(tmp_path / "bin", name, "#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr("promptpool.export.serving_engines.interpreter", lambda _: "/vllm/python")
    (tmp_path / "x.gguf").write_bytes(b"x")
    found, lacking = engines(out, "eos", str(tmp_path / "x.gguf"))
    assert [engine.name for engine in found] == ["vLLM", "Text Embeddings Inference", "llama.cpp"] and not lacking
    assert "--pooling last" in found[2].shown and "--runner pooling" in found[0].shown
    found, lacking = engines(out, "weighted", None)
    assert [engine.name for engine in found] == ["Text Embeddings Inference"]
    assert "does not know the pooling weighted" in lacking[0] and "pip install it, or give" in lacking[1]
    (out / "adapter_config.json").write_text("{}")
    assert "merged: true" in engines(out, "last", None)[1][0]


@pytest.mark.parametrize(("wanted", "gib"), [(None, "1"), ("7", "7")])
def test_vllm_on_a_cpu_does_not_ask_for_nearly_all_memory(out, monkeypatch, wanted, gib):
    """Else it ends where other programs hold 8 % of the memory. What the user sets is kept."""
    monkeypatch.setattr("promptpool.export.serving_engines.interpreter", lambda _: "/vllm/python")
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    if wanted:
        monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", wanted)
    ((one,), _) = engines(out, "last", kinds=["vllm"])
    assert one.environment["VLLM_CPU_KVCACHE_SPACE"] == gib
    assert one.shown.startswith(f"VLLM_CPU_KVCACHE_SPACE={gib} python -m vllm.")  # whoever copies it does not either
