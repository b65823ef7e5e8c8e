"""What this machine lacks for a study: the hub, a token, disk, GPU memory, vLLM."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import yaml

from ..errors import PromptpoolError
from ..hub.snapshots import cache_folder
from .model_checks import model_faults
from .preflight import reachable
from .study import Study

PLANNING_FILE = files(__package__) / "planning.yaml"


def missing(study: Study, disk: float, memory: float, visible: int) -> list[str]:
    """One line for each thing that is missing. disk: bytes of results; memory: of a GPU, bytes; visible: GPUs."""
    return [
        *model_faults(study), *_hub(study), *_disk(study, disk), *_gpu(study, memory, visible), *_vllm(study),
        *_servers(study),
    ]  # fmt: skip


def _hub(study: Study) -> Iterator[str]:
    needed = study.unfetched()
    if not needed:
        return
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if not reachable(endpoint):
        yield f"the model hub, for {len(needed)} entries of the config: {endpoint} can't be reached"
    from huggingface_hub import get_token

    gated = tuple(yaml.safe_load(PLANNING_FILE.read_text(encoding="utf-8"))["gated"])
    asked = sorted({need["repo"] for need in study.hub_snapshots().values() if need["repo"].startswith(gated)})
    if asked and not get_token():
        yield f"a token of the hub, for {', '.join(asked)}: accept the licence on its page, then `hf auth login`"


def _disk(study: Study, disk: float) -> Iterator[str]:
    places = {"results": (Path("results"), disk)}
    if study.unfetched():
        places["the hub's cache"] = (cache_folder(), 0.0)  # prefetch checks the space for its downloads
    for name, (place, wanted) in places.items():
        there = next(folder for folder in (place.absolute(), *place.absolute().parents) if folder.exists())
        free = shutil.disk_usage(there).free
        if free < 1.1 * wanted:
            yield f"disk for {name}: {wanted / 1e9:.0f} GB, and {free / 1e9:.0f} GB are free in {there}"


def _gpu(study: Study, memory: float, visible: int) -> Iterator[str]:
    if study["device"] == "cpu":
        return
    if not visible:
        yield "a GPU: none is visible here, and every job would run on the CPU"
    elif shutil.which("nvidia-smi"):
        command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.split()
        least = min((float(mib) * 2**20 for mib in answer if mib.isdigit()), default=memory)
        if least < memory:
            yield f"GPU memory: the largest model needs about {memory / 1e9:.0f} GB, and there are {least / 1e9:.0f}"


def _vllm(study: Study) -> Iterator[str]:
    if not any(spec["backend"] == "vllm" and spec["model"] for spec in study["pairs"].values()):
        return
    from ..generation.vllm_backend import interpreter

    try:
        interpreter(study["backends"]["vllm"]["python"])
    except PromptpoolError as error:
        yield f"vLLM: {error}"


def _servers(study: Study) -> Iterator[str]:
    if not study.served_exports():
        return
    from .preflight import lacking_servers

    yield from lacking_servers(study, study.served_exports())
