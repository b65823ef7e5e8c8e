"""The sets of pairs that a study asks for: what writes them, what selects them, and what this reads."""

from collections.abc import Callable, Mapping, Sequence

from ..generation.backend import BACKENDS
from ..hub.snapshots import looks_local, marker_path, snapshot_id
from ..pairs.styles import query_styles, worded
from ..variants import TASK, TRAIN
from .entry_files import loaded_files
from .hub_needs import embedder_need

LLM_KEYS = ("backend", "model", "max_new_tokens", "temperature", "top_p", "extra")
# Keys of a set of pairs that change no written text, or that `selection_spec` passes on.
NOT_WRITING = ("shard_size", "contamination")
SELECTING = ("near_duplicate", "round_trip")  # filters that need the whole set
UNUSED = {"per_text": 1, "split": TRAIN}  # as before there were these keys, so that nothing is written again
OF_FINDER = ("prompt", "query_prompt", "pooling")


class PairJobs:
    """The part of a Study that knows its sets of pairs."""

    config: Mapping
    results: str
    model: Callable[[str], dict]
    snapshot: Callable[[str, str], Sequence[str]]
    corpus_of: Callable[[str, str], list[str]]
    task_texts: Callable[[], dict[str, str]]

    def pairs_spec(self, name: str) -> dict:
        """What changes the texts of a set of pairs, and nothing else."""
        spec = {key: value for key, value in self.config["pairs"][name].items() if key not in NOT_WRITING}
        spec = {key: value for key, value in spec.items() if key not in UNUSED or value != UNUSED[key]}
        spec["filters"] = {key: value for key, value in spec["filters"].items() if key not in SELECTING}
        if spec["filters"]["semantic"]:
            semantic = spec["filters"]["semantic"]
            spec["filters"] |= {"semantic": {**semantic, **self.model_or_path(semantic["model"])}}
        placeholders = {"language": spec.pop("language"), "pivot": spec.pop("pivot")}
        spec["wording"] = worded(spec["styles"], self.config["styles"], placeholders)
        if spec["backend"] == "openai":
            spec["extra"] = dict(self.config["backends"]["openai"]["extra"])  # part of each request to a server
        return {key: value for key, value in spec.items() if spec["wording"] or key not in LLM_KEYS}

    def selection_spec(self, name: str) -> dict:
        """What decides which written pairs of a set are kept."""
        spec = self.config["pairs"][name]
        kept = {"near_duplicate": spec["filters"]["near_duplicate"], "contamination": dict(spec["contamination"])}
        queries, round_trip = query_styles(spec["styles"], self.config["styles"]), spec["filters"]["round_trip"]
        if queries:  # a set without any is selected as before there were such styles
            kept |= {"queries": queries, "split": spec["split"]}
        if round_trip:
            kept |= {"round_trip": {key: round_trip[key] for key in ("among", "within")}, "column": spec["column"]}
            kept["round_trip"] |= {"seed": spec["seed"], "model": self.finder(name)}
        return kept

    def selection_tasks(self, name: str) -> dict[str, str]:
        """The tasks whose texts a set must not hold: all, or none if the set is itself held out for a task."""
        return {} if self.config["pairs"][name]["split"] == TASK else self.task_texts()

    def selection_waits(self, name: str) -> list[str]:
        """The mark that all tasks' texts exist, as a rule's input."""
        return [f"{self.results}/checks/tasks_ready"] if self.selection_tasks(name) else []

    def finder(self, name: str) -> dict | None:
        """The embedder of a set's filter `round_trip`, as semantic.load_encoder reads it; None if words find texts."""
        spec = self.config["pairs"][name]["filters"]["round_trip"]
        if not spec or spec["model"] is None:
            return None
        return {**self.model_or_path(spec["model"]), **{key: spec[key] for key in OF_FINDER}}

    def round_trip_files(self, name: str) -> dict[str, list[str]]:
        """`corpus`, and `snapshot` and `files` of the embedder, as a rule's inputs; none without the filter."""
        spec, finder = self.config["pairs"][name]["filters"]["round_trip"], self.finder(name)
        return {
            "corpus": self.corpus_of("pairs", name) if spec else [],
            "snapshot": self.embedder_marker(spec["model"]) if finder else [],
            "files": list(loaded_files(finder["model"])) if finder else [],
        }

    def selection_code(self, name: str) -> list[str]:
        """What selecting looks up by name at run time."""
        if not self.config["pairs"][name]["filters"]["round_trip"]:
            return []
        model = ["pairs.semantic.load_encoder"] if self.finder(name) else []
        return ["pairs.round_trip.round_trip_ranks", *model]

    def training_sets(self) -> list[str]:
        """The sets that are not held out for tasks."""
        return [name for name, spec in self.config["pairs"].items() if spec["split"] != TASK]

    def pairs_model(self, name: str) -> dict:
        """The language model that writes a set; empty if none does. For `openai`, the server's own name for it."""
        spec = self.config["pairs"][name]
        if not spec["model"]:
            return {}
        known = self.model_or_path(spec["model"])
        return known if spec["backend"] == "openai" else {**known, "dtype": self.config["dtype"]}

    def model_or_path(self, name: str) -> dict:
        """`model` and `revision` of a name in `models`; anything else is itself the model."""
        return self.model(name) if name in self.config["models"] else {"model": name, "revision": None}

    def backend_options(self, name: str) -> dict:
        """How a set's backend runs, which changes no text."""
        return dict(self.config["backends"][self.config["pairs"][name]["backend"]])

    def pairs_code(self, name: str) -> list[str]:
        """What writing a set looks up by name at run time: its own backend, and the judge of the filter `semantic`."""
        spec = self.pairs_spec(name)
        backend = f"generation.{spec['backend']}_backend.{BACKENDS[spec['backend']]}" if spec["wording"] else None
        return [*filter(None, [backend]), *(["pairs.semantic.similarities"] if spec["filters"]["semantic"] else [])]

    def judge_snapshot(self, name: str) -> list[str]:
        """The marker of the embedder that a set's filter `semantic` uses, if it comes from the hub."""
        judge = self.config["pairs"][name]["filters"]["semantic"]
        return self.embedder_marker(judge["model"]) if judge else []

    def embedder_marker(self, model: str) -> list[str]:
        """The marker of an embedder that a filter names, a name in `models` or itself a model; none for a local one."""
        if model in self.config["models"]:
            return list(self.snapshot("models", model))
        return [] if looks_local(model) else [marker_path(self.results, snapshot_id(embedder_need(model)))]

    def pairs_gpus(self, name: str) -> int:
        """GPUs that writing a set needs: none if no model, neither writer nor judge, runs in the job."""
        spec = self.config["pairs"][name]
        if not spec["model"] or spec["backend"] == "openai":
            return 1 if spec["filters"]["semantic"] else 0
        return self.backend_options(name).get("tensor_parallel", 1)
