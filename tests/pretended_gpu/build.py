"""Builds the pretended GPU's guard; does not import torch's tensors, only finds where it is installed."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

COMPILER = next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)
NO_COMPILER = "needs a C++ compiler, to build the pretended GPU's guard"
HAS_CUDA = "needs a CPU build of torch: this one has CUDA's own guard"


def build_guard(folder: Path) -> Path:
    """guard.so, for PRETENDED_GUARD. AssertionError with the compiler's words where it does not build."""
    home, guard = Path(importlib.util.find_spec("torch").origin).parent, folder / "guard.so"
    command = [COMPILER, "-O1", "-shared", "-fPIC", "-std=c++20", "-I", home / "include", "-o", guard]
    command += [Path(__file__).with_name("guard.cpp"), "-L", home / "lib", "-ltorch_cpu", "-lc10"]
    built = subprocess.run([*command, f"-Wl,-rpath,{home / 'lib'}"], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return guard
