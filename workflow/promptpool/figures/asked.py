"""What the entries of the registry ask of a study: adapters, options, and whether it has what a figure needs.

Every Snakemake process imports this module, so it imports nothing that draws or reads tables.
"""

from ..tasks.published import published_scores
from ..variants import short_vector
from .entry import StudyView


def has_short_vectors(study: StudyView) -> bool:
    """Whether the grid scores short or small vectors."""
    return bool(study["tasks"]) and any(map(short_vector, study["grid"].get("post_processing", ())))


def trained(study: StudyView) -> list[str]:
    """The trainings of this study, without adapters that others trained and means of adapters."""
    specs = {name: study.adapter(name) or {} for name in study.trainings()}
    return sorted(name for name, spec in specs.items() if not spec.get("path") and not spec.get("mean_of"))


def adapter_tables(study: StudyView, name: str) -> dict[str, list[str]]:
    """The directories of these trainings, which hold their tables."""
    folders = [f"{study.results}/adapters/{adapter}" for adapter in trained(study)]
    return {"logs": folders, "validations": folders}


def over_adapters(study: StudyView) -> list[str]:
    """The ablations that vary the adapter."""
    return [name for name, spec in sorted(study["ablations"].items()) if spec["vary"] == "adapter"]


def benchmark_options(study: StudyView, name: str) -> dict:
    """A benchmark's title, its tasks, and published scores to compare with."""
    tasks = list(study.benchmarks()[name])
    return {"title": study["benchmarks"][name]["name"], "tasks": tasks, "lines": published_scores(study.config, tasks)}


def map_title(study: StudyView, name: str) -> dict:
    """What the map of texts shows, in words; nothing without a map."""
    spec = study.map_spec()
    return {"title": f"{spec['task']}, prompt {spec['prompt']}, {spec['pooling']}"} if spec else {}
