"""What a study needs of a machine, one check each. None of them imports a library that takes seconds."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from ..runtime.installation import checkout

WRONG = "fault"
LEAST_PYTHON = (3, 11)
LEAST_MEMORY = 4e9  # bytes: what the demo and Snakemake's own processes take, with a margin
LEAST_DISK = 5e9  # bytes: results of a small study, and the cache of a small model
QUERY = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version,compute_cap", "--format=csv,noheader,nounits"]
PATIENCE = 5  # seconds for a driver
OFFLINE = ("1", "true", "yes", "on")
PACKAGES = ("torch", "transformers", "sentence-transformers", "peft", "mteb", "snakemake")


@dataclass(frozen=True)
class Finding:
    """One row. state: ok, note (works, with a limit) or fault; fix: what to do, empty if nothing."""

    name: str
    state: str
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Gpu:
    """As nvidia-smi lists it. memory: bytes; capability: None if the driver does not say."""

    name: str
    memory: float
    driver: str
    capability: float | None


def python() -> Finding:
    own = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < LEAST_PYTHON:
        return Finding("python", WRONG, own, "promptpool needs Python 3.11 or newer: make an environment with one")
    return Finding("python", "ok", own)


def packages() -> Finding:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        fix = "run `pip install promptpool` in this environment again"
        return Finding("packages", WRONG, f"missing: {', '.join(missing)}", fix)
    return Finding("packages", "ok", ", ".join(found))


def cores() -> Finding:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if count < 2:
        return Finding("cores", "note", f"{count}", "jobs run one after the other; two cores halve the time")
    return Finding("cores", "ok", f"{count}")


def main_memory() -> Finding:
    free, whole = memory_here()
    text = f"{free / 1e9:.1f} of {whole / 1e9:.1f} GB free"
    if free < LEAST_MEMORY:
        return Finding("memory", "note", text, "a study needs about 4 GB: close programs, or run with --cores 1")
    return Finding("memory", "ok", text)


def gpu() -> Finding:
    listed = gpus()
    if not listed:
        fix = "models run on the CPU, which suits models below 0.5 B parameters; for larger ones use a GPU"
        return Finding("gpu", "note", gpu_reason(), fix)
    first = listed[0]
    text = f"{len(listed)} x {first.name}, {first.memory / 2**30:.0f} GiB, driver {first.driver}"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return Finding("gpu", "note", f"{text}; CUDA_VISIBLE_DEVICES hides it", "unset CUDA_VISIBLE_DEVICES")
    build = torch_build()
    if build.endswith("+cpu"):
        return Finding(
            "gpu", WRONG, f"{text}; but torch {build} is a CPU build", "install torch from PyTorch's CUDA index"
        )
    return Finding("gpu", "ok", f"{text}; torch {build}")


def precision() -> Finding:
    listed = gpus()
    if not listed or torch_build().endswith("+cpu"):
        return Finding("precision", "ok", "float32 throughout, on the CPU")
    capability = listed[0].capability
    if capability is not None and capability < 8:
        text = f"compute capability {capability}: no bfloat16 and no TF32 in hardware"
        return Finding(
            "precision", "note", text, "slow in training: set `dtype: float32`, or use a GPU of 2020 or later"
        )
    return Finding(
        "precision", "ok", "embeddings: float32 with TF32 products; training: bfloat16; pooling and loss: float32"
    )


def hub() -> Finding:
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() in OFFLINE:
        fix = "fetch with `promptpool run prefetch` where there is a network; or unset HF_HUB_OFFLINE"
        return Finding("model hub", "note", "switched off by HF_HUB_OFFLINE: only what the cache holds is used", fix)
    from ..study.preflight import reachable

    if not reachable(endpoint):
        fix = "the shipped model and local directories work; for others see docs/how-to/offline.md, or set HF_ENDPOINT"
        return Finding("model hub", "note", f"{endpoint} can't be reached", fix)
    return Finding("model hub", "ok", f"{endpoint} answers")


def token() -> Finding:
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache/huggingface"))
    kept = Path(os.environ.get("HF_TOKEN_PATH", home / "token"))
    if os.environ.get("HF_TOKEN"):
        return Finding("hub token", "ok", "in HF_TOKEN")
    if kept.is_file() and kept.read_text(encoding="utf-8", errors="replace").strip():
        return Finding("hub token", "ok", f"in {kept}")
    fix = "only gated models (Llama, Gemma) need one: accept the licence on the model's page, then `hf auth login`"
    return Finding("hub token", "note", "none", fix)


def vllm() -> Finding:
    places = [folder / ".vllm/bin/python" for folder in filter(None, (checkout(), Path.cwd()))]
    there = [str(place) for place in places if os.access(place, os.X_OK)]
    if there or find_spec("vllm"):  # as generation/vllm_backend.py looks for it, which imports transformers
        return Finding("vLLM", "ok", (there or [sys.executable])[0])
    fix = "only pairs that an LLM writes at scale need it: `make vllm` in a checkout; or use backend transformers"
    return Finding("vLLM", "note", "not installed", fix)


def disk() -> Finding:
    place = Path.cwd()
    free = shutil.disk_usage(place).free
    text = f"{free / 1e9:.1f} GB free in {place}"
    if not os.access(place, os.W_OK):
        return Finding("disk", WRONG, f"{place} is not writable", "start promptpool in a folder of your own")
    scratch = shutil.disk_usage(tempfile.gettempdir()).free
    if free < LEAST_DISK / 10 or scratch < LEAST_DISK / 50:
        return Finding(
            "disk", WRONG, f"{text}, {scratch / 1e9:.1f} GB in {tempfile.gettempdir()}", "free some space first"
        )
    if free < LEAST_DISK:
        return Finding("disk", "note", text, "enough for a small study; `promptpool plan` says what yours needs")
    return Finding("disk", "ok", text)


CHECKS: tuple[Callable[[], Finding], ...] = (
    python, packages, cores, main_memory, gpu, precision, hub, token, vllm, disk,
)  # fmt: skip


def memory_here() -> tuple[float, float]:
    """Bytes free and in all, at most what this process's group may hold (a container's limit)."""
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    known = {line.split(":")[0]: 1024 * float(line.split()[1]) for line in lines if line.endswith("kB")}
    free, whole = known["MemAvailable"], known["MemTotal"]
    limit, used = (_number(Path("/sys/fs/cgroup", name)) for name in ("memory.max", "memory.current"))
    if limit is not None and limit < whole:
        free, whole = min(free, limit - (used or 0)), limit
    return free, whole


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no such group, or `max`
        return None


def gpus() -> list[Gpu]:
    """The GPUs that the driver lists; none without a driver, or if it does not answer."""
    if not shutil.which(QUERY[0]):
        return []
    try:
        answer = subprocess.run(QUERY, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.splitlines() if line.count(",") == 3]
    return [
        Gpu(name, float(mib) * 2**20, driver, float(capability) if capability.replace(".", "").isdigit() else None)
        for name, mib, driver, capability in rows
        if mib.replace(".", "").isdigit()
    ]


def gpu_reason() -> str:
    """Why there is no GPU, as far as can be seen."""
    if list(Path("/dev").glob("nvidia[0-9]*")):
        return "a GPU's device is here, but nvidia-smi lists none: the driver is missing or does not answer"
    return "none"


def torch_build() -> str:
    """Torch's version with its build, such as 2.13.0+cpu, without importing it; empty if it is missing."""
    try:
        known = version("torch")
    except PackageNotFoundError:
        return ""
    if "+" in known:
        return known
    found = find_spec("torch")
    file = Path(found.origin).with_name("version.py") if found and found.origin else None
    lines = file.read_text(encoding="utf-8").splitlines() if file and file.is_file() else []
    return next((line.split("'")[1] for line in lines if line.startswith("__version__") and "'" in line), known)
