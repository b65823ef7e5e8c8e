"""Where this package is imported from: a checkout, or an interpreter's own packages if a wheel was installed."""

import os
from collections.abc import Mapping
from pathlib import Path

IMPORTED_FROM = Path(__file__).parents[2]
SEARCHED = "PYTHONPATH"


def checkout() -> Path | None:
    """The checkout that this package is imported from; None for an installed one."""
    root = IMPORTED_FROM.parent
    return root if (root / "Snakefile").is_file() else None


def workflow_folder() -> Path:
    """The folder of the Snakefile, rules, scripts and resources: a checkout's, or an installed package's copy."""
    root = checkout() or IMPORTED_FROM / "promptpool/shipped"
    return root / "workflow"


def with_package(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that must import this same package: its checkout comes first on PYTHONPATH.

    An installed package is left to its interpreter, because another one must not import the packages beside it.
    """
    if checkout() is None:
        return dict(environment)
    paths = [str(IMPORTED_FROM), *filter(None, [environment.get(SEARCHED)])]
    return {**environment, SEARCHED: os.pathsep.join(paths)}
