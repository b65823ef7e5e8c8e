"""Checks of the files that a config names: they exist, are readable, and hold what their keys promise."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from ..data.topics import read_topics
from ..errors import PromptpoolError


def corpus_file_problems(config: Mapping) -> Iterator[str]:
    """`source: file` corpora whose file is missing or of an unknown type. The corpus stage checks the content."""
    for name, corpus in config["corpora"].items():
        if corpus["source"] == "file":
            # pandas takes half a second to import, so only if a file is named
            from ..data.table_formats import READERS, kind_of

            key, path = f"corpora.{name}.path", Path(corpus["path"])
            if not path.is_file():
                yield f"{key}: no such file: {str(path)!r}; fix the path"
            elif kind_of(path) not in READERS:
                yield f"{key}: {str(path)!r} is of an unknown type; use one of {', '.join(READERS)}"


def task_file_problems(config: Mapping) -> Iterator[str]:
    """Files of own tasks that are missing, empty or at fault, such as having a single label. Reads them in full."""
    for name, task in config["tasks"].items():
        try:
            if task["source"] == "file":
                from ..data.tables import read_labelled

                read_labelled(task["path"], task["text"], task["label"], f"tasks.{name}")
            elif task["source"] == "retrieval":
                from ..data.retrieval_files import read_retrieval

                read_retrieval(task, f"tasks.{name}")
        except PromptpoolError as error:
            yield str(error)


def topic_problems(config: Mapping) -> Iterator[str]:
    """Faults of the YAML files that group labels (topic -> modules, each module once)."""
    for name, task in config["tasks"].items():
        if task["source"] == "docstrings" and task["labels"] is not None:
            yield from _topic_file_problems(f"tasks.{name}.labels", Path(task["labels"]))


def _topic_file_problems(key: str, path: Path) -> Iterator[str]:
    try:
        topics = read_topics(path)
    except OSError:
        yield f"{key}: no such file: {str(path)!r}; fix the path"
        return
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = f", line {error.problem_mark.line + 1}" if getattr(error, "problem_mark", None) else ""
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        yield f"{key}: {str(path)!r} is not valid YAML{line}: {reason}; fix the file"
        return
    if not isinstance(topics, dict) or len(topics) < 2:
        yield f"{key}: {str(path)!r} has fewer than two topics; write at least two, as `topic: [module, module]`"
        return
    topic_of: dict[str, str] = {}
    for topic, modules in topics.items():
        if not isinstance(modules, list) or not all(isinstance(module, str) for module in modules):
            yield f"{key}: {str(path)!r}: topic {topic!r} lists no module names; write `{topic}: [module, module]`"
            return
        for module in modules:
            if module in topic_of:
                yield f"{key}: {str(path)!r}: {module!r} is listed under {topic_of[module]!r} and {topic!r}; keep one"
            topic_of[module] = topic
