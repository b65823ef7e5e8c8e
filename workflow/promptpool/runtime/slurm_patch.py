"""Keeps jobs alive while a SLURM controller is unreachable.

When Snakemake's SLURM plugin (2.8) asks for the state of its jobs and gets no answer, it forgets them all and waits for
ever. If it can't ask for MinJobAge either, it asks sacct, which knows nothing without an accounting database.
"""

import math
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any


def outlast(plugin: ModuleType | None) -> None:
    """Makes the plugin keep the jobs of a failed query, and ask squeue if so configured. Calling it once is enough."""
    if plugin is None or hasattr(plugin.Executor, "outlasts"):
        return
    ask_state, ask_age, check = plugin.query_job_status, plugin.get_min_job_age, plugin.Executor.check_active_jobs
    answers = [True]

    async def query_job_status(*args: Any) -> tuple:
        states, seconds = await ask_state(*args)
        answers.append(states is not None)
        return states, seconds

    def get_min_job_age() -> float:
        age = ask_age()
        return math.inf if age is None else age

    async def check_active_jobs(self: Any, active_jobs: list) -> AsyncIterator:
        answers[:] = [True]
        async for job in check(self, active_jobs):
            yield job
        if not answers[-1]:
            self.logger.warning("SLURM does not answer; its jobs go on, and the next query is tried later.")
            for job in active_jobs:
                yield job

    plugin.query_job_status, plugin.get_min_job_age = query_job_status, get_min_job_age
    plugin.Executor.check_active_jobs, plugin.Executor.outlasts = check_active_jobs, True
