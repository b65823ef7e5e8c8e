"""Tasks whose queries a language model wrote: how tables, figures and cards tell them apart."""

from collections.abc import Iterable

SYNTHETIC = "synthetic"  # is part of such a task's name, because scores, tables and figures show nothing else of it
NOTE = (
    "Tasks with `synthetic` in their name: a language model wrote their queries, no person asked them.",
    "A query that copies words of its text favours word search (BM25, TF-IDF). Compare variants on such",
    "a task, and not the task with others.",
)


def is_synthetic(task: str) -> bool:
    """Whether a task's name says that its queries are synthetic."""
    return SYNTHETIC in task.lower()


def synthetic_notes(tasks: Iterable[str]) -> list[str]:
    """What a reader of scores on these tasks must know, in lines; nothing if no query is synthetic."""
    return list(NOTE) if any(map(is_synthetic, tasks)) else []
