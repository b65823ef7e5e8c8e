"""Tasks whose queries a language model wrote, and how readers of scores see that.

A score, a row of a table and a bar of a figure have nothing of a task but its name. So the name itself must say it
(config.queries checks that), and what explains scores in words adds a note.
"""

from collections.abc import Iterable

SYNTHETIC = "synthetic"  # is part of such a task's name, in any case
SYNTHETIC_NOTE = (
    "Tasks with `synthetic` in their name: a language model wrote their queries, no person asked them.",
    "A query that copies words of its text favours word search (BM25, TF-IDF). Compare variants on such",
    "a task, and not the task with others.",
)


def is_synthetic(task: str) -> bool:
    """Whether a task's name says that its queries are synthetic."""
    return SYNTHETIC in task.lower()


def as_synthetic(task: str) -> str:
    """A name for the task that says it."""
    return f"{task}{SYNTHETIC.capitalize()}"


def synthetic_notes(tasks: Iterable[str]) -> list[str]:
    """What a reader of scores on these tasks must know, in lines; nothing if no query is synthetic."""
    return list(SYNTHETIC_NOTE) if any(map(is_synthetic, tasks)) else []
