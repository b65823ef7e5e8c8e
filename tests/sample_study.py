"""A study of the sample tables, as the registry's entries see one."""

from pathlib import Path

from sample_tables import TASKS, sample_qc, sample_training


class SampleStudy:
    """What figures/entry.StudyView names, with all that a figure can be drawn of."""

    def __init__(self, results: Path | str):
        self.results = str(results)
        self.config = {
            "grid": {"models": ["nano-docs"], "layers": [0, -1], "post_processing": ["none", "cut(64)"]},
            "tasks": {name: {"source": "file"} for name in TASKS},
            "adapters": dict.fromkeys(sample_training()),
            "pairs": dict.fromkeys(sample_qc()),
            "benchmarks": {"own": {"name": "MTEB(own)"}},
            "ablations": {"steps": {"vary": "adapter", "baseline": "base"}},
        }

    def __getitem__(self, section: str) -> dict:
        return self.config[section]

    def ablation_tasks(self, name: str) -> list[str]:
        return list(TASKS)

    def omitted_texts(self) -> int:
        return 4

    def weighs_values(self) -> bool:
        return True

    def attention_states(self) -> list[tuple[str, str]]:
        return [("nano-docs", "base")]

    def benchmarks(self) -> dict[str, dict[str, str]]:
        return {"own": dict.fromkeys(TASKS, "Clustering")}

    def adapter(self, training: str) -> dict:
        return self["adapters"][training]

    def trainings(self) -> list[str]:
        return list(self["adapters"])

    def map_spec(self) -> dict:
        return {"task": "topics", "prompt": "cluster", "pooling": "mean"}
