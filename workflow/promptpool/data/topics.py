"""The yaml files that group labels by topic. Imports nothing heavy, because the config's check reads them too."""

from pathlib import Path

import yaml


def read_topics(path: str | Path) -> dict[str, list[str]]:
    """A yaml of topic -> modules, every name as its exact text: the topics 1.1 and 1.10 differ, and so do no and No.

    Raises OSError, yaml.YAMLError (also for a repeated topic) or UnicodeDecodeError. The caller checks whether it holds
    topics and lists.
    """
    return yaml.load(Path(path).read_text(encoding="utf-8-sig"), _AsText)


class _AsText(yaml.BaseLoader):
    """Reads every scalar as text, and refuses a repeated key, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, name in enumerate(names):
            if name in names[:number]:
                at = node.value[number][0].start_mark
                raise yaml.MarkedYAMLError(problem=f"{name!r} occurs twice", problem_mark=at)
        return super().construct_mapping(node, deep)
