"""Where this package lies: in a checkout, or among an interpreter's own packages, where a wheel was installed."""

import os
from collections.abc import Mapping
from pathlib import Path

IMPORTED_FROM = Path(__file__).parents[2]
SEARCHED = "PYTHONPATH"


def checkout() -> Path | None:
    """The checkout that this package is imported from; None for an installed one."""
    root = IMPORTED_FROM.parent
    return root if (root / "Snakefile").is_file() else None


def with_package(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that shall import this same package: its checkout comes first on PYTHONPATH.

    An installed one is left to its own interpreter: beside it lie packages that another interpreter must not import.
    """
    if checkout() is None:
        return dict(environment)
    paths = [str(IMPORTED_FROM), *filter(None, [environment.get(SEARCHED)])]
    return {**environment, SEARCHED: os.pathsep.join(paths)}
