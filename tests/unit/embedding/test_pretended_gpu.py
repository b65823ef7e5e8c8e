"""The engine on a pretended GPU (tests/pretended_gpu), in a process of its own: its guard is loaded before torch."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]


def test_the_stages_on_a_pretended_gpu(pretended):
    checks = sorted((TESTS / "pretended_gpu").glob("checks*.py"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *checks],
        env=pretended, cwd=TESTS.parent, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
