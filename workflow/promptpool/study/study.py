"""A study: the resolved config as the rules use it. Gives paths in results, and each rule's part of the config."""

from collections.abc import Mapping

from ..analysis.axes import compared, varied
from ..config.adapters import EXECUTION, seeded
from ..config.resolve import adapter_ids, adapter_of, in_order, unused_left_out
from ..config.text_map import map_choice
from ..tasks.catalogue import benchmark_tasks, catalogue
from ..templates import families
from ..variants import RAW, split_seed
from .attention_jobs import AttentionJobs
from .choice_jobs import ChoiceJobs
from .entry_files import EntryFiles, drop_task_defaults
from .grid_jobs import GridJobs
from .hub_needs import hub_needs
from .judged_adapter import JudgedAdapter
from .long_text_jobs import LongTextJobs
from .negative_jobs import NegativeJobs
from .pair_jobs import PairJobs
from .readout_jobs import ReadoutJobs
from .role_prompts import RolePrompts
from .search_jobs import SearchJobs
from .trainings import Trainings


class Study(
    SearchJobs, AttentionJobs, ChoiceJobs, EntryFiles, GridJobs, JudgedAdapter, LongTextJobs, NegativeJobs, PairJobs,
    ReadoutJobs, RolePrompts, Trainings,
):  # fmt: skip
    """What the Snakefile knows about a config that `config.resolve` has accepted."""

    def __init__(self, config: Mapping):
        self.config = config = in_order(config)  # another order of keys must rerun nothing
        drop_task_defaults(config["tasks"])
        self.results = f"results/{config['run']}"
        self.adapters = adapter_ids(config)
        self.needs = hub_needs(config)
        grid = config["grid"]
        self.prompts = {name: config["prompts"][name] for name in sorted(grid["prompts"])}
        self.families = {family.name: family for family in families(self.prompts)}

    def __getitem__(self, section: str) -> Mapping:
        return self.config[section]

    def shown(self) -> dict:
        """The config as the report prints it, without what changes no result (and may contain an address)."""
        unasked = [key for key in ("roles", "choice") if self.config[key] in ({}, None)]  # as before there was the key
        shown = {
            key: value
            for key, value in self.config.items()
            if key not in ("device", "jobs_per_gpu", "fuse", "backends", *unasked)
        }
        pairs = {name: {key: spec[key] for key in spec if key != "shard_size"} for name, spec in shown["pairs"].items()}
        adapters = {
            name: {key: spec[key] for key in spec if key not in EXECUTION} for name, spec in shown["adapters"].items()
        }
        whole = {**shown, "pairs": pairs, "adapters": adapters}
        return self.without_chunks(self.without_readouts(unused_left_out(whole)))

    # --- models and adapters -------------------------------------------------------------------

    def model(self, name: str) -> dict:
        """`model` (directory or hub id) and `revision` of a named model, and `causal: false` if its mask is removed."""
        spec = self.config["models"][name]
        known = {"model": spec["path"], "revision": spec["revision"]}
        return known if spec["causal"] else {**known, "causal": False}

    def states(self) -> list[tuple[str, str]]:
        """(model, adapter id) of everything that is embedded: every grid model untuned, and its adapters' steps, each
        seed's own.
        """
        return [
            (model, training)
            for model in self.config["grid"]["models"]
            for adapter in self.adapters
            if adapter == "base" or self.config["adapters"][adapter_of(self.config, adapter)[0]]["model"] == model
            for training in seeded(self.config, adapter)
        ]

    # --- pairs and tasks -----------------------------------------------------------------------

    def execution(self, section: str = "", name: str = "") -> dict:
        """How a job runs, which changes its result by rounding at most. Rules pass it on in a param that depends on
        `output`, so that another value reruns nothing.
        """
        how = {"device": self.config["device"]}
        if section == "adapters":
            return how | {key: self.adapter(name)[key] for key in EXECUTION}
        if section == "embeddings":
            return how | {"fuse": {"auto": None}.get(self.config["fuse"], self.config["fuse"])}
        if section == "pairs":
            return how | {"options": self.backend_options(name), "shard_size": self.config["pairs"][name]["shard_size"]}
        return how

    def contamination_of(self, adapter: str) -> list[float | None]:
        """For each of an adapter's sets, the share of a task's text at which a pair counts as too near it."""
        return [self.config["pairs"][name]["contamination"]["near"] for name in self.adapter_pairs(adapter)]

    def corpus_of(self, section: str, name: str) -> list[str]:
        """The corpus of a pair set or a task, as a rule's input."""
        corpus = self.config[section][name].get("corpus")
        return [f"{self.results}/corpora/{corpus}.parquet"] if corpus else []

    # --- scores and what is read from them -------------------------------------------------------

    def benchmarks(self) -> dict[str, dict[str, str]]:
        """Benchmark -> task -> type, for all its tasks, including those that the config leaves out."""
        types = catalogue()["tasks"]
        return {
            name: {task: types[task] for task in benchmark_tasks(spec["name"], spec["types"])}
            for name, spec in self.config["benchmarks"].items()
        }

    def task_texts(self) -> dict[str, str]:
        """Task -> the file of its recorded texts."""
        return {name: f"{self.results}/tasks/{name}/texts.parquet" for name in self.config["tasks"]}

    def ablation_tasks(self, name: str) -> list[str]:
        """The tasks that an ablation is measured on."""
        wanted = self.config["ablations"][name]["tasks"]
        if wanted is None:
            return list(self.config["tasks"])
        benchmarks = self.benchmarks()
        chosen = {task for one in wanted for task in benchmarks.get(one, [one])}
        return [task for task in self.config["tasks"] if task in chosen]

    def two_axes(self) -> list[str]:
        """The ablations that vary two things: tables of rows and columns."""
        return [name for name, spec in sorted(self.config["ablations"].items()) if len(varied(spec)) == 2]

    def ablation_jobs(self, name: str) -> list[str]:
        """`model/adapter/share` of the jobs that score what an ablation compares: no other checkpoint."""
        spec = self.config["ablations"][name]

        def chosen(part: str, known: list[str]) -> list[str]:
            if part not in varied(spec):
                return [spec["fixed"][part]]
            values = compared(spec, part)
            return [one for one in known if values is None or one in values]

        shares = dict.fromkeys(map(self.share_of, self.ablation_tasks(name)))
        return [
            f"{model}/{training}/{share}"
            for model in chosen("model", self.config["grid"]["models"])
            for adapter in chosen("adapter", adapter_ids(self.config, model))
            for training in seeded(self.config, adapter)
            for share in shares
        ]

    def ablation_parts(self, name: str) -> list[str]:
        """The manifests of the scores that an ablation reads; the readouts' only if it compares one."""
        jobs = self.ablation_jobs(name)
        own = [f"{self.results}/scores/{job}.json" for job in jobs]
        return own + (self.readout_scores(jobs) if self.compares_readouts(self.config["ablations"][name]) else [])

    def ablation_spec(self, name: str) -> dict:
        """What changes an ablation's table, besides its inputs."""
        kept = ("vary", "baseline", "fixed", "values")
        spec = {key: self.config["ablations"][name][key] for key in kept} | {"tasks": self.ablation_tasks(name)}
        compared = {split_seed(job.split("/")[1].partition("@")[0])[0] for job in self.ablation_jobs(name)}
        several = {name: spec["seeds"] for name, spec in self.config["adapters"].items() if name in compared}
        seeds = {name: seeds[0] for name, seeds in several.items() if seeds}
        return spec | ({"seeds": seeds} if seeds else {})  # without several seeds, a table is as it was

    # --- embeddings, exports ----------------------------------------------------------

    def grid_spec(self) -> dict:
        keys = ("poolings", "layers", "max_text_tokens", "tokenization", "text_normalisation", "storage")
        return {key: self.config["grid"][key] for key in keys}

    def embedded(self) -> list[str]:
        """The names of one task's embeddings files: first families of prompts, then ensembles."""
        return [*self.families, *(f"ensemble-{name}" for name in self.config["ensembles"])]

    def map_spec(self) -> dict | None:
        """What the map of texts shows: `task`, `model`, `adapters`, `prompt`, `pooling`, `layer`, `texts`; or None."""
        return map_choice(self.config)

    def costs_spec(self) -> dict:
        """What changes a variant's cost, besides its model and the texts."""
        kept = {key: self.config["grid"][key] for key in ("layers", "max_text_tokens", "text_normalisation")}
        ensembles = {name: spec["prompts"] for name, spec in self.config["ensembles"].items()}
        given = {"prompts": self.prompts, "ensembles": ensembles, "seed": self.config["seed"]}
        return {**kept, **given, **self.chunk_facts()}

    def export_spec(self, name: str) -> dict:
        spec = dict(self.config["exports"][name])
        if spec["post_processing"] == RAW:  # as before there was the key, so that nothing is exported again
            del spec["post_processing"]
        if spec["truncate_dim"] is None:
            del spec["truncate_dim"]
        spec.pop("serve", None)  # how it is checked changes nothing of it
        return spec

    def served_exports(self) -> list[str]:
        """The exports that servers are compared with."""
        return sorted(name for name, spec in self.config["exports"].items() if spec.get("serve"))

    def export_recipe(self, name: str) -> dict | None:
        adapter = self.config["exports"][name]["adapter"]
        return None if adapter == "base" else self.adapter_spec(adapter_of(self.config, adapter)[0])

    def export_pairs(self, name: str) -> dict:
        adapter = self.config["exports"][name]["adapter"]
        names = [] if adapter == "base" else self.config["adapters"][adapter_of(self.config, adapter)[0]]["pairs"] or []
        return {pair: self.pairs_spec(pair) for pair in names}

    def export_corpora(self, name: str) -> list[str]:
        """The corpora that an export's adapter was trained on or its statistics are of, as a rule's input."""
        adapter = self.config["exports"][name]["adapter"]
        corpora = set() if adapter == "base" else self.trained_corpora(adapter_of(self.config, adapter)[0])
        if self.export_readout(name):
            pairs = [self.config["pairs"][one]["corpus"] for one in self.training_sets()]
            corpora |= set(pairs if self.config["fitting"]["corpora"] is None else self.config["fitting"]["corpora"])
        return [f"{self.results}/corpora/{corpus}.parquet" for corpus in sorted(corpora)]
