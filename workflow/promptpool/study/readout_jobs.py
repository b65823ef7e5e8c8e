"""The readouts that a study scores beside its poolings, and the jobs and files that this takes."""

from collections.abc import Callable, Mapping

from ..analysis.axes import baseline_of, compared, varied
from ..variants import CHOICE, FITTING, LEXICAL, RAW, WHOLE_LAYER, lexical_name, readout_name


class ReadoutJobs:
    """The part of a Study that knows post-processings and aggregations. Without them, it names no job and no file."""

    config: Mapping
    results: str
    share_tasks: Callable[[str], list[str]]
    export_spec: Callable[[str], dict]
    grid_jobs: Callable[[], list[str]]
    grid_families: Callable[[], dict[str, dict[str, str]]]
    choice_states: Callable[[], list[tuple[str, str]]]
    choice_files: Callable[[], list[str]]
    training_sets: Callable[[], list[str]]

    def readouts(self) -> list[dict]:
        """Every post-processed pooling of the grid, then every aggregation: `name`, `layer`, `parts`, `scale`."""
        grid, found = self.config["grid"], []
        for post_processing in grid["post_processing"]:
            for pooling in grid["poolings"] if post_processing != RAW else ():
                for layer in grid["layers"]:
                    part = {"pooling": pooling, "layer": layer, "post_processing": post_processing, "weight": 1}
                    name = readout_name(pooling, post_processing)
                    found.append({"name": name, "layer": layer, "parts": [part], "scale": None})
        return found + [self.aggregation(name) for name in self.config["aggregations"]]

    def aggregation(self, name: str) -> dict:
        """One aggregation as a readout."""
        spec = self.config["aggregations"][name]
        return {"name": name, "layer": WHOLE_LAYER, "parts": [_part(part) for part in spec["parts"]],
                "scale": spec["scale"]}  # fmt: skip

    def export_readout(self, name: str) -> dict | None:
        """The readout that an export holds; None for a pooling as it comes."""
        spec = self.config["exports"][name]
        pooling, post_processing = spec["pooling"], spec["post_processing"]
        if pooling in self.config["aggregations"]:
            return self.aggregation(pooling)
        if post_processing == RAW:
            return None
        part = {"pooling": pooling, "layer": spec["layer"], "post_processing": post_processing, "weight": 1}
        whole = readout_name(pooling, post_processing)
        return {"name": whole, "layer": spec["layer"], "parts": [part], "scale": None}

    def export_statistics(self, name: str) -> list[str]:
        """The manifest of the statistics that an export holds, as a rule's input."""
        spec = self.config["exports"][name]
        where = f"{self.results}/statistics/{spec['model']}/{spec['adapter']}/fitted.json"
        return [where] if self.export_readout(name) else []

    def export_params(self, name: str) -> dict:
        """`readout` and `family`, the name of its statistics' file, as params; nothing for a pooling as it comes."""
        readout, prompt = self.export_readout(name), self.config["exports"][name]["prompt"]
        if readout is None:
            return {}
        family = next(family for family, own in self.grid_families().items() if prompt in own)
        return {"readout": readout, "family": f"{family}.safetensors"}

    def compares_readouts(self, ablation: Mapping) -> bool:
        """Whether an ablation compares post-processings or aggregations, not only poolings as they come."""
        axes = varied(ablation)
        if "post_processing" in axes or ablation["fixed"].get("post_processing", RAW) != RAW:
            return True
        named = [ablation["fixed"].get("pooling")]
        if "pooling" in axes:
            values = compared(ablation, "pooling")
            named += [baseline_of(ablation)["pooling"], *(self.config["aggregations"] if values is None else values)]
        return any(name in self.config["aggregations"] for name in named)

    def without_readouts(self, config: Mapping) -> dict:
        """A config without the keys of readouts, where they ask for none: as it was before there were any."""
        if self.readouts():
            return dict(config)
        kept = {key: value for key, value in config.items() if key not in ("aggregations", "fitting")}
        kept["grid"] = {key: value for key, value in kept["grid"].items() if key != "post_processing"}
        kept["exports"] = {name: self.export_spec(name) for name in kept["exports"]}
        return kept

    def fitted_readouts(self) -> list[list]:
        """[pooling, layer] of every vector whose statistics are fitted."""
        used = {(part["pooling"], part["layer"]) for readout in self.readouts() for part in readout["parts"]}
        return sorted((list(one) for one in used if not LEXICAL.fullmatch(one[0])), key=repr)

    def lexical_parts(self) -> dict[str, str]:
        """Name -> file of every lexical part of an aggregation, which no checkpoint changes."""
        parts = [part for readout in self.readouts() for part in readout["parts"]]
        named = sorted({part["pooling"] for part in parts if LEXICAL.fullmatch(part["pooling"])})
        files = {name: name.replace("(", "-").removesuffix(")") for name in named}
        return {name: f"{self.results}/lexical/{file}.safetensors" for name, file in files.items()}

    def fitting_sources(self) -> dict[str, str]:
        """Name -> file of the texts that are chosen from: the named corpora, or every set of pairs."""
        corpora = self.config["fitting"]["corpora"]
        if corpora is None:
            return {f"pairs.{name}": f"{self.results}/pairs/{name}/pairs.parquet" for name in self.training_sets()}
        return {f"corpora.{name}": f"{self.results}/corpora/{name}.parquet" for name in corpora}

    def fitting_texts(self) -> str:
        return f"{self.results}/fitting/texts.parquet"

    def embedded_tasks(self, share: str, *state: str) -> list[str]:
        """What the job of a share embeds: its tasks, the fitting texts where a readout needs them, and a choice's pairs
        where the checkpoint (model, adapter id) is one of its candidates.
        """
        if share in (FITTING, CHOICE):
            return [share]
        if self.config["grid"]["jobs"] == "task":
            return self.share_tasks(share)
        chosen = [CHOICE] if state in self.choice_states() else []
        return self.share_tasks(share) + ([FITTING] if self.readouts() else []) + chosen

    def embedded_files(self, share: str, *state: str) -> list[str]:
        """The texts of each, as a rule's input."""
        own = {FITTING: self.fitting_texts(), CHOICE: self.choice_files()[1]}
        tasks = self.embedded_tasks(share, *state)
        return [own.get(task, f"{self.results}/tasks/{task}/texts.parquet") for task in tasks]

    def texts_beside_tasks(self, held_out: int) -> list[int]:
        """How many texts a checkpoint embeds beside its tasks', at most: to fit on, and of a choice's pairs."""
        fitting = [self.config["fitting"]["texts"]] if self.readouts() else []
        return fitting + ([held_out] if self.choice_states() else [])

    def vectors_of_texts(self, share: str, model: str, adapter: str) -> str:
        """The manifest that lists a checkpoint's vectors of texts that are no task's: FITTING or CHOICE."""
        whole = share if self.config["grid"]["jobs"] == "task" else "all"
        return f"{self.results}/embeddings/{model}/{adapter}/{whole}.json"

    def export_scores(self, name: str) -> list[str]:
        """The manifests of the scores of an export's checkpoint, in which the export's own are if it was scored."""
        spec = self.config["exports"][name]
        jobs = [job for job in self.grid_jobs() if job.startswith(f"{spec['model']}/{spec['adapter']}/")]
        own = self.readout_scores(jobs) if self.export_readout(name) else []
        return own or [f"{self.results}/scores/{job}.json" for job in jobs]

    def readout_scores(self, jobs: list[str]) -> list[str]:
        """The manifests of the readouts' scores, for these jobs of the grid; none without a readout."""
        return [f"{self.results}/readout_scores/{job}.json" for job in jobs] if self.readouts() else []


def _part(spec: Mapping) -> dict:
    """A part as `Aggregation.of` reads it: a lexical one has its name in the place of a pooling."""
    if "lexical" not in spec:
        return dict(spec)
    kept = {key: spec[key] for key in ("layer", "post_processing", "weight")}
    return {"pooling": lexical_name(spec["lexical"], spec["dim"]), **kept}
