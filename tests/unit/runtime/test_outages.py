"""The SLURM plugin, asked about its jobs while nobody answers, keeps them."""

import asyncio
import importlib
import logging
from types import SimpleNamespace

import pytest
from promptpool.runtime.slurm_patch import outlast

JOBS = [SimpleNamespace(external_jobid=str(number), aux={}) for number in (1, 2)]


class Limiter:
    async def __aenter__(self):
        pass

    async def __aexit__(self, *_):
        pass


@pytest.fixture
def plugin(monkeypatch):
    """The real one, with its questions to SLURM replaced; what is patched is undone."""
    module = importlib.import_module("snakemake_executor_plugin_slurm")
    monkeypatch.setattr(module, "get_min_job_age", lambda: None)
    monkeypatch.setattr(module, "is_query_tool_available", lambda _: True)
    monkeypatch.setattr(module, "query_job_status", module.query_job_status)
    monkeypatch.setattr(module.Executor, "check_active_jobs", module.Executor.check_active_jobs)
    monkeypatch.setattr(module.Executor, "outlasts", True, raising=False)
    monkeypatch.delattr(module.Executor, "outlasts")
    return module


def still_active(plugin, monkeypatch, answer: tuple) -> tuple[list[str], list[str], list[str]]:
    """The jobs that go on, those reported as done, the commands that were asked."""
    asked, done = [], []

    async def query_job_status(command, logger):
        asked.append(command.split()[0])
        return answer

    monkeypatch.setattr(plugin, "query_job_status", query_job_status)
    outlast(plugin)
    outlast(plugin)
    settings = SimpleNamespace(
        init_seconds_before_status_checks=5, status_attempts=2, status_command="squeue", keep_successful_logs=True
    )
    executor = object.__new__(plugin.Executor)
    vars(executor).update(
        workflow=SimpleNamespace(executor_settings=settings), logger=logging.getLogger("test"), run_uuid="x",
        status_rate_limiter=Limiter(), _status_query_calls=0, _status_query_failures=0, _status_query_cycle_rows=[],
        _status_query_total_seconds=0.0, _status_query_min_seconds=None, _status_query_max_seconds=0.0,
        _preemption_warning=False, next_seconds_between_status_checks=5, _failed_nodes=set(),
    )  # fmt: skip
    monkeypatch.setattr(plugin.Executor, "report_job_success", lambda _, job: done.append(job.external_jobid))

    async def run() -> list[str]:
        return [job.external_jobid async for job in executor.check_active_jobs(JOBS)]

    return asyncio.run(run()), done, asked


def test_jobs_outlive_a_question_without_an_answer(plugin, monkeypatch):
    assert still_active(plugin, monkeypatch, (None, None)) == (["1", "2"], [], ["squeue"] * 2)


def test_an_answer_counts_once(plugin, monkeypatch):
    active, done, asked = still_active(plugin, monkeypatch, ({"1": "RUNNING", "2": "COMPLETED"}, 0.1))
    assert (active, done, asked) == (["1"], ["2"], ["squeue"])


def test_without_the_plugin_there_is_nothing_to_do():
    outlast(None)
