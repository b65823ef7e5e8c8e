"""The hard negatives that a study's adapters ask for: what they are chosen from, and where their files lie."""

from collections.abc import Callable, Mapping, Sequence

from ..config.adapters import untrained
from ..variants import split_seed
from .entry_files import loaded_files

OF_MINING = ("ranks", "margin", "relative_margin", "max_similarity")
OF_MODEL = ("prompt", "pooling")


class NegativeJobs:
    """The part of a Study that knows hard negatives. An adapter that asks for none has no job and no file."""

    config: Mapping
    results: str
    adapter_pairs: Callable[[str], list[str]]
    corpus_of: Callable[[str, str], list[str]]
    model_or_path: Callable[[str], dict]
    snapshot: Callable[[str, str], Sequence[str]]

    def with_negatives(self) -> list[str]:
        """The adapters that are trained with hard negatives. All seeds of one share them."""
        adapters = self.config["adapters"].items()
        return [name for name, spec in adapters if spec["hard_negatives"] and not untrained(spec)]

    def adapter_negatives(self, training: str) -> list[str]:
        """The file of a training's hard negatives, as a rule's input."""
        name = split_seed(training)[0]
        return [f"{self.results}/negatives/{name}/negatives.parquet"] if name in self.with_negatives() else []

    def negatives_spec(self, name: str) -> dict:
        """What decides an adapter's hard negatives, besides its pairs: of its sets, the strictest checks."""
        spec, sets = self.config["adapters"][name]["hard_negatives"], self.adapter_pairs(name)
        kept = {key: spec[key] for key in ("from", "count", *(OF_MINING if spec["from"] == "mined" else ()))}
        kept["model"] = self.negatives_model(name)
        pairs = [self.config["pairs"][one] for one in sets]
        near = [one["filters"]["near_duplicate"] for one in pairs]
        checked = [one["contamination"] for one in pairs]
        return {
            **kept,
            "near_duplicate": min((share for share in near if share is not None), default=None),
            "contamination": {
                "near": min((one["near"] for one in checked if one["near"] is not None), default=None),
                "action": "fail" if any(one["action"] == "fail" for one in checked) else "remove",
            },
        }

    def negatives_model(self, name: str) -> dict | None:
        """The embedder by which an adapter's negatives are mined, as semantic.load_encoder reads it; None for words."""
        spec = self.config["adapters"][name]["hard_negatives"]
        if spec["from"] != "mined" or spec["model"] is None:
            return None
        return {**self.model_or_path(spec["model"]), **{key: spec[key] for key in OF_MODEL}}

    def negatives_corpora(self, name: str) -> list[str]:
        """The corpus of each of an adapter's sets, as a rule's input, if its negatives are given there."""
        if self.config["adapters"][name]["hard_negatives"]["from"] == "mined":
            return []
        return [corpus for one in self.adapter_pairs(name) for corpus in self.corpus_of("pairs", one)]

    def negatives_files(self, name: str) -> dict[str, list[str]]:
        """`snapshot` and `files` of the embedder, as a rule's inputs."""
        model = self.negatives_model(name)
        asked = self.config["adapters"][name]["hard_negatives"]["model"] if model else None
        return {
            "snapshot": list(self.snapshot("models", asked)) if asked else [],
            "files": list(loaded_files(model["model"])) if model else [],
        }

    def negatives_code(self, name: str) -> list[str]:
        """What choosing looks up by name at run time."""
        return ["pairs.semantic.load_encoder"] if self.negatives_model(name) else []
