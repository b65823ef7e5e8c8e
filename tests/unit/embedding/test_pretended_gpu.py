"""The stages, and tests/gpu, on a pretended GPU, in processes of their own: its guard is loaded before torch."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
RUNS = {
    "stages": sorted((TESTS / "pretended_gpu").glob("checks*.py")),
    # The other architectures are among the stages' checks.
    "gpu": ["-p", "pretended_gpu.plugin", "-rs", "-k", "not (llama or gpt2 or gemma2)", TESTS / "gpu"],
}
Started = dict[str, subprocess.Popen]


@pytest.fixture(scope="module")
def started(pretended) -> Iterator[Started]:
    """Both runs at once: each uses one thread."""
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    how = {"env": pretended, "cwd": TESTS.parent, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    runs = {name: subprocess.Popen([*pytest_, *map(str, given)], **how) for name, given in RUNS.items()}
    yield runs
    for run in runs.values():
        run.kill()
        run.communicate()


def test_the_stages_on_a_pretended_gpu(started):
    said, _ = started["stages"].communicate(timeout=1200)
    assert started["stages"].returncode == 0, said[-6000:]


def test_the_tests_for_a_gpu_run(started):
    said, _ = started["gpu"].communicate(timeout=1200)
    assert started["gpu"].returncode == 0, said[-6000:]
    skipped = [line for line in said.splitlines() if line.startswith("SKIPPED")]
    assert all(any(why in line for why in ("bitsandbytes", "flash-attn", "two GPUs")) for line in skipped), skipped
    assert len(said.splitlines()[0].partition(" ")[0].replace("s", "")) >= 13, said
