"""Records which run of Snakemake made an artifact, so that a job left by a killed run can't overwrite a later run's.

Such a job is a process that had hardly begun. The time of its start names a run. Its jobs inherit the name in their
environment, and sidecars record it. This can't help with a job left in a cluster's queue: Snakemake clears its outputs
on the node before the script starts (docs/how-to/clusters.md: cancel such jobs first).
"""

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from ..artifacts.files import RUN, sidecar_path
from ..artifacts.integrity import read_sealed
from ..errors import PromptpoolError


def begin_run() -> None:
    """Names this process's run, and the run of the jobs it starts."""
    os.environ[RUN] = datetime.now(UTC).isoformat(timespec="microseconds")


def require_latest(outputs: Iterable[str | Path]) -> None:
    """Raises PromptpoolError in a job if a later run has made one of its outputs.

    A job without a run's name (started by hand, say) may write anything.
    """
    mine = os.environ.get(RUN)
    for output in outputs if mine else ():
        sidecar = sidecar_path(output)
        recorded = (read_sealed(sidecar) if sidecar.exists() else None) or {}
        if Path(output).exists() and str(recorded.get("run") or "") > mine:
            raise PromptpoolError(
                f"{output}: a run that began later ({recorded['run']}) has made it; this job is left over from an "
                "earlier one and does nothing (if the clock was set back: remove that file)"
            )
