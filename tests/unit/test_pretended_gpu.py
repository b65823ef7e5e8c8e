"""The stages, and tests/gpu, on a pretended GPU, in processes of their own: its guard is loaded before torch."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def run(environment: dict[str, str], *arguments: object) -> str:
    """What pytest says of a run in which nothing fails."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, arguments)]
    done = subprocess.run(command, env=environment, cwd=TESTS.parent, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def test_the_stages_on_a_pretended_gpu(pretended):
    run(pretended, *sorted((TESTS / "pretended_gpu").glob("checks*.py")))


def test_the_tests_for_a_gpu_run(pretended):
    said = run(pretended, "-p", "pretended_gpu.plugin", "-rs", TESTS / "gpu")
    skipped = [line for line in said.splitlines() if line.startswith("SKIPPED")]
    assert said.count(".") >= 16, said
    assert all(any(why in line for why in ("bitsandbytes", "flash-attn", "two GPUs")) for line in skipped), skipped
