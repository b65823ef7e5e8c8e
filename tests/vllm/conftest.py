"""vLLM for real. Without `make vllm`, every test here is skipped."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from promptpool.errors import PromptpoolError
from promptpool.generation.inside_vllm import vllm_worker
from promptpool.generation.vllm_backend import interpreter
from tiny import tiny_model

ROOT = Path(__file__).parents[2]
NANO = str(ROOT / "workflow/resources/nano-docs")
OPTIONS = {
    "python": None, "tensor_parallel": 1, "gpu_memory": 0.3, "max_model_len": None, "prefix_caching": True,
    "enforce_eager": None, "kv_cache_gib": 0.5,
}  # fmt: skip
SAMPLING = {"max_new_tokens": 24, "temperature": 0.7, "top_p": 0.9}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    try:
        interpreter(None)
        missing = None
    except PromptpoolError as error:
        missing = str(error)
    for item in items:
        item.add_marker(pytest.mark.vllm)
        if missing:
            item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture(scope="session")
def chatty(tmp_path_factory) -> str:
    """A model with a chat template, of a size that vLLM's CPU attention takes (heads of 32)."""
    folder = tmp_path_factory.mktemp("chatty") / "model"
    return str(tiny_model(folder, hidden_size=64, head_dim=32, num_attention_heads=2, chat=True))


@pytest.fixture
def no_orphans() -> Iterator[None]:
    """Fails a test that leaves a process of a worker's group behind."""
    yield
    assert workers() == []


def workers() -> list[int]:
    """Process ids of this checkout's workers, and of the engine processes that a worker has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words, state = (entry / "cmdline").read_bytes(), (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            if vllm_worker.__file__.encode() in words and state[0] != "Z":
                found.append(int(entry.name))
    return sorted(found)
