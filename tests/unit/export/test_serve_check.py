"""`promptpool serve-check` against servers on loopback: right ones, and those that lose the prompt without a word."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_openai import FakeServer, fake_openai
from promptpool.cli.command import main
from promptpool.errors import PromptpoolError
from promptpool.export.contents import faults_of_export
from promptpool.export.served_parity import COUNT, Reference
from promptpool.export.serving_engines import ServingEngine, engines, running
from promptpool.generation import server_client
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
    assert sum(len(body["input"]) for body in server.bodies) == COUNT + 1  # and one too long
    assert "A text beyond the export's limit is cut as the export cuts it" in shown
    assert {body["model"] for body in server.bodies} == {"writer"}  # what it lists
    assert not [text for body in server.bodies for text in body["input"] if PROMPT[:14] in text and "{" not in text]
    notes = out.with_name("out.serving.md").read_text()
    assert "Send plain texts." in notes and "Lowest cosine 1.000000" in notes
    assert faults_of_export(out) == []  # the export itself is as it was


@pytest.mark.parametrize(
    ("kept", "words"),
    [(0, "the prompt is lost"), (1, "only the first and the last token are kept")],
)  # fmt: skip
def test_a_server_that_loses_the_prompt_is_caught(out, server, capsys, kept, words):
    lossy = list(Reference(out).without_prompt().values())[kept]
    serves(server, lossy)
    status, shown = checked(capsys, out, "--url", server.url)
    assert status == 1 and "FAILED" in shown and words in shown
    assert "the first text that differs: " in shown and "Do not serve it like this" in shown
    assert not out.with_name("out.serving.md").exists()


def test_where_the_template_itself_gives_the_vectors_the_check_says_so(out, server, capsys):
    """An engine without the post-processor whose tokens are those of prompt, text and prompt again."""
    whole, bare = Reference(out), next(iter(Reference(out).without_prompt().values()))
    before, _, after = PROMPT.partition("{text}")

    def vectors(texts: list[str]) -> np.ndarray:
        (text,) = texts
        if text.startswith(before) and text.endswith(after) and len(text) > len(before + after):
            return whole.vectors([text[len(before) : -len(after)]])
        return bare(texts)

    serves(server, vectors)
    status, shown = checked(capsys, out, "--url", server.url)
    assert status == 0, shown
    assert "sent plain texts: lowest cosine" in shown and "sent the prompt's template with each text" in shown
    assert "It cannot carry the prompt itself. Send it with each text: " + repr(PROMPT) in shown
    assert "the prompt is lost" in shown
    notes = out.with_name("out.serving.md").read_text()
    assert f"Send it with each text: `{PROMPT}`" in notes


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

SERVER = """#!{python}
import sys, threading, time
sys.path[:0] = {paths!r}
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
from pathlib import Path
from promptpool.export.served_parity import Reference
import fake_openai
reference = Reference(Path(given["--model-id"]))
class Server(fake_openai.FakeServer):
    def __init__(self):
        fake_openai.ThreadingHTTPServer.__init__(self, ("127.0.0.1", int(given["--port"])), fake_openai._Handler)
        self.plan, self.always, self.rule = fake_openai.deque(), None, lambda text: None
        self.needs_key, self.delay, self.bodies, self.paths, self.times = False, 0.0, [], [], []
        self.tries, self.at_once, self.most_at_once = fake_openai.Counter(), 0, 0
        self.lock = threading.Lock()
        self.embed = lambda text: [float(x) for x in reference.vectors([text])[0]]
Server().serve_forever()
"""


def program(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
    return folder / name


def test_a_server_that_is_found_is_started_checked_and_ended(out, tmp_path, capsys, monkeypatch):
    paths = [path for path in sys.path if path]
    program(tmp_path / "bin", "text-embeddings-router", SERVER.format(python=sys.executable, paths=paths))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("promptpool.export.serving_engines.interpreter", refuse)
    status, shown = checked(capsys, out)
    assert status == 0 and "Text Embeddings Inference: passed" in shown
    notes = out.with_name("out.serving.md").read_text()
    assert "\ntext-embeddings-router --model-id EXPORT --dtype float32 --hostname 127.0.0.1 --port 8000" in notes
    assert "in float32, " in notes and "texts a second" in notes
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if b"text-embeddings-router" in read(path)]
    assert not left


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


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
    assert "does not know the pooling weighted" in lacking[0] and "convert the export" in lacking[1]
    (out / "adapter_config.json").write_text("{}")
    assert "merged: true" in engines(out, "last", None)[1][0]
    with pytest.raises(PromptpoolError, match="no such file; give the converted model"):
        engines(out, "last", str(tmp_path / "none.gguf"))
