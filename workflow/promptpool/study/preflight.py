"""Checks what must exist before a costly job starts."""

import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence

from ..errors import PromptpoolError
from ..runtime.installation import IMPORTED_FROM, checkout, with_package

TIMEOUT = 5  # seconds


def require_hub(needed: Sequence[str], device: str = "auto") -> None:
    """Raises an error of one line, before any job, if the config needs the model hub and it can't be reached.

    needed: what comes from the hub, as `Study.unfetched` lists it. If nothing is needed, nothing is checked.
    """
    if not needed:
        return
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on") or reachable(endpoint):
        return
    gpu = " and no GPU was found" if device != "cpu" and not shutil.which("nvidia-smi") else ""
    raise PromptpoolError(
        f"this study needs the model hub for {needed[0]}{f' and {len(needed) - 1} more' if len(needed) > 1 else ''}, "
        f"but {endpoint} can't be reached{gpu}; prefetch where it can (docs/how-to/offline.md), "
        "or run `make demo` without it"
    )


def pin(results: str, wanted: Mapping[str, tuple[Mapping, str]]) -> None:
    """Pins each repository that this run is about to fetch to one commit; checks access and disk for all of them.

    In Snakemake's own process, before any job: a refusal costs nothing, and many repositories share one process.
    wanted: as `Study.wanted` gives it. Raises PromptpoolError as pin_snapshots does.
    """
    if wanted:
        from ..hub.pin_snapshots import pin_snapshots  # the hub's client; most runs fetch nothing

        pin_snapshots(results, wanted)


def require_gpu(gpus: int, device: str) -> str | None:
    """A warning if GPU jobs will run on the CPU, else None.

    gpus: visible here. Raises PromptpoolError if the config insists on a GPU.
    """
    if gpus or device == "cpu":
        return None
    if device == "cuda":
        raise PromptpoolError(
            "device: cuda, and no GPU is visible here; set `device: auto`, or start on a machine that has one"
        )
    return "No GPU is visible here: every job runs on the CPU."


def lacking_servers(study: Mapping, exports: Sequence[str]) -> list[str]:
    """A line for each server of these exports' `serve` that this machine lacks. study: the resolved config."""
    from ..export.serving_engines import lacking  # most studies serve nothing

    kinds = {kind: name for name in reversed(exports) for kind in study["exports"][name]["serve"]}
    python = study["backends"]["vllm"]["python"]
    return [
        f"exports.{name}.serve: {what}, or take {kind} out"
        for kind, name in sorted(kinds.items())
        if (what := lacking(kind, python))
    ]


def require_servers(study: Mapping, exports: Sequence[str]) -> None:
    """Raises PromptpoolError, before any job, for a server that exports are to be compared with and that is missing."""
    for line in lacking_servers(study, exports) if exports else ():
        raise PromptpoolError(line)


def share_package(environments: bool = False) -> None:
    """Puts this checkout's package on PYTHONPATH, so that scripts find it in any environment.

    environments: whether rules run in their own environments (`--sdm conda`). Raises PromptpoolError if these would not
    find the package, because it is installed only in this interpreter.
    """
    if environments and checkout() is None:
        raise PromptpoolError(
            f"--sdm conda: its environments lack promptpool, which is installed in {IMPORTED_FROM}; "
            "run `pip install -e .` in the checkout, or leave out --sdm conda"
        )
    os.environ.update(with_package(os.environ))


def reachable(endpoint: str) -> bool:
    """Whether anything answers HTTP there within 5 seconds. An HTTP error counts as an answer."""
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=TIMEOUT)
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True
