"""Retrieval tasks whose queries a language model wrote: the files that the workflow writes for them.

Their three files are in BEIR's layout, so that all later jobs see a task of `source: retrieval`.
"""

from collections.abc import Callable, Mapping

from ..tasks.catalogue import SYNTHETIC_SEARCH

SEARCH_FILES = {"queries": "queries.jsonl", "documents": "documents.jsonl", "qrels": "qrels.tsv"}
SEARCH_SIZES = ("most_queries", "most_documents")


class SearchJobs:
    """The part of a Study that knows synthetic searches. Without any, it names no job and no file."""

    config: Mapping
    results: str
    corpus_of: Callable[[str, str], list[str]]
    pairs_model: Callable[[str], dict]

    def synthetic_searches(self) -> list[str]:
        """The tasks of `source: synthetic-search`."""
        return [name for name, spec in self.config["tasks"].items() if spec["source"] == SYNTHETIC_SEARCH]

    def search_files(self, task: str) -> dict[str, str]:
        """`queries`, `documents` and `qrels` of a synthetic search; empty for another task."""
        if task not in self.synthetic_searches():
            return {}
        return {part: f"{self.results}/searches/{task}/{file}" for part, file in SEARCH_FILES.items()}

    def search_inputs(self, task: str) -> dict[str, str | list[str]]:
        """`pairs` and `corpus` of a synthetic search, as a rule's inputs."""
        pairs = self.config["tasks"][task]["pairs"]
        return {"pairs": f"{self.results}/pairs/{pairs}/pairs.parquet", "corpus": self.corpus_of("pairs", pairs)}

    def search_spec(self, task: str) -> dict:
        """What decides a synthetic search's files, besides its inputs."""
        spec = self.config["tasks"][task]
        pairs = self.config["pairs"][spec["pairs"]]
        how = {"styles": pairs["styles"], "model": self.pairs_model(spec["pairs"]).get("model")}
        return {**{key: spec[key] for key in SEARCH_SIZES}, "column": pairs["column"], "pairs": spec["pairs"], **how}

    def hub_spec(self, section: str, name: str) -> dict:
        """EntryFiles.hub_spec, but a synthetic search is a task of `source: retrieval` over its files."""
        if section != "tasks" or name not in self.synthetic_searches():
            return super().hub_spec(section, name)
        spec = self.config["tasks"][name]
        measure = {"measure": spec["measure"]} if "measure" in spec else {}
        columns = {"id": "_id", "text": "text", "title": None}
        return {"source": "retrieval", **self.search_files(name), **columns, **measure, "synthetic": True}
