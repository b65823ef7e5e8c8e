"""The engine on a pretended GPU (tests/pretended_gpu), in a process of its own: its guard is loaded before torch."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).parents[2]
COMPILER = next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)


@pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler, to build the pretended GPU's guard")
@pytest.mark.skipif(torch.version.cuda is not None, reason="needs a CPU build of torch: this one has CUDA's own guard")
def test_the_engine_on_a_pretended_gpu(tmp_path):
    home, guard = Path(torch.__file__).parent, tmp_path / "guard.so"
    build = [COMPILER, "-O1", "-shared", "-fPIC", "-std=c++20", "-I", home / "include", "-o", guard]
    build += [TESTS / "pretended_gpu" / "guard.cpp", "-L", home / "lib", "-ltorch_cpu", "-lc10"]
    built = subprocess.run([*build, f"-Wl,-rpath,{home / 'lib'}"], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    paths = os.pathsep.join([str(TESTS.parent / "workflow"), str(TESTS)])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", TESTS / "pretended_gpu" / "checks.py"],
        env={**os.environ, "PRETENDED_GUARD": str(guard), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
