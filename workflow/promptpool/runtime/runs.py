"""Which run of Snakemake made an artifact: a job that a killed run left behind must not write over a later run's.

Such a job is a process that had hardly begun. Each run has the time of its start for a name; its jobs inherit that in
their environment, and the sidecars say it. A job left in a cluster's queue is past this help: Snakemake clears its
outputs on the node before the script starts (docs/how-to/clusters.md: cancel them first).
"""

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from ..artifacts.files import RUN, sidecar_path
from ..artifacts.integrity import read_sealed
from ..errors import PromptpoolError


def begin_run() -> None:
    """Names this process's run, and that of the jobs it starts."""
    os.environ[RUN] = datetime.now(UTC).isoformat(timespec="microseconds")


def require_latest(outputs: Iterable[str | Path]) -> None:
    """Raises PromptpoolError in a job of which a later run has made an output.

    A job without a run's name, started by hand perhaps, may write anything.
    """
    mine = os.environ.get(RUN)
    for output in outputs if mine else ():
        sidecar = sidecar_path(output)
        told = (read_sealed(sidecar) if sidecar.exists() else None) or {}
        if Path(output).exists() and str(told.get("run") or "") > mine:
            raise PromptpoolError(
                f"{output}: a run that began later ({told['run']}) has made it; this job was left over from an earlier "
                "one and does nothing (if the clock was set back: remove that file)"
            )
