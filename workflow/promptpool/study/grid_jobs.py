"""The jobs that embed and score the grid: one for each checkpoint, or for each of its tasks, and where their files lie.

A job makes the files of a share of the tasks. Its manifest, {model}/{adapter}/{share}.json, lists them.
"""

from collections.abc import Mapping

from ..tasks.catalogue import ranks_documents

MOST_SCORING = 8  # processes of one scoring job; other jobs take the other cores
SIDE_BY_SIDE = 4  # scoring jobs that share a machine's cores, as one alone leaves most of them idle while it starts
WHOLE = "all"  # the share of a job that makes all tasks' files


class GridJobs:
    """The part of a Study that knows how the grid's work is cut into jobs."""

    config: Mapping
    results: str
    families: Mapping

    def shares(self) -> list[str]:
        """The shares that a checkpoint's tasks are cut into: `grid.jobs`."""
        tasks = list(self.config["tasks"])
        return tasks if self.config["grid"]["jobs"] == "task" else [WHOLE][: len(tasks)]

    def share_of(self, task: str) -> str:
        return task if self.config["grid"]["jobs"] == "task" else WHOLE

    def share_tasks(self, share: str) -> list[str]:
        """The tasks of a share."""
        return [share] if self.config["grid"]["jobs"] == "task" else list(self.config["tasks"])

    def grid_jobs(self) -> list[str]:
        """`model/adapter/share` of every job of the grid."""
        return [f"{model}/{adapter}/{share}" for model, adapter in self.states() for share in self.shares()]

    def task_files(self, share: str, name: str) -> list[str]:
        """One file of each of a share's tasks, as a rule's input."""
        return [f"{self.results}/tasks/{task}/{name}" for task in self.share_tasks(share)]

    def task_specs(self, share: str) -> dict[str, dict]:
        """Task -> its entry of the config, of a share."""
        return {task: self.hub_spec("tasks", task) for task in self.share_tasks(share)}

    def task_snapshots(self, share: str) -> list[str]:
        """The markers of what a share's tasks use from the hub, as a rule's input."""
        return sorted({marker for task in self.share_tasks(share) for marker in self.snapshot("tasks", task)})

    def baseline_tasks(self, name: str) -> list[str]:
        """The tasks that a baseline is scored on: all, or for BM25 those that rank documents."""
        tasks = self.config["tasks"]
        words = self.config["baselines"][name]["kind"] == "bm25"
        return [task for task, spec in tasks.items() if not words or ranks_documents(task, spec)]

    def scoring_threads(self, cores: int, shared: bool) -> int:
        """Processes of a job that scores: more than there are files of a checkpoint would idle.

        shared: whether these cores are all that the study has, so that its scoring jobs run side by side on them.
        """
        files = len(self.config["tasks"]) * (len(self.families) + len(self.config["ensembles"]))
        jobs = len(self.grid_jobs()) + len(self.config["baselines"])
        own = cores // max(1, min(jobs, SIDE_BY_SIDE)) if shared else cores
        return max(1, min(own, files, MOST_SCORING))

    def parity_texts(self) -> str:
        """The texts that an export is compared on: a task's; a corpus's in a study without tasks."""
        if self.config["tasks"]:
            return f"{self.results}/tasks/{sorted(self.config['tasks'])[0]}/texts.parquet"
        return f"{self.results}/corpora/{sorted(self.config['corpora'])[0]}.parquet"

    def grid_families(self) -> dict[str, dict[str, str]]:
        """Family -> prompt name -> template."""
        return {
            name: {template.name: str(template) for template in family.templates}
            for name, family in self.families.items()
        }

    def ensembles(self) -> dict[str, list[str]]:
        """Ensemble -> its prompts."""
        return {name: list(spec["prompts"]) for name, spec in self.config["ensembles"].items()}

    def vectors_of(self, model: str, adapter: str, task: str, prompt: str) -> tuple[str, str]:
        """The manifest that lists one prompt's vectors of a task, and the name of their file in it."""
        own = (name for name, prompts in self.grid_families().items() if prompt in prompts)
        family = next(own, f"ensemble-{prompt}")
        folder = f"{self.results}/embeddings/{model}/{adapter}"
        return f"{folder}/{self.share_of(task)}.json", f"{task}/{family}.safetensors"
