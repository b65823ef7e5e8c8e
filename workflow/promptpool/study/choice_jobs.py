"""The choice that does not peek: which checkpoints and readouts are its candidates, and the files that it takes."""

from collections.abc import Callable, Mapping

from ..config.adapters import adapter_ids, untrained
from ..variants import BASE, CHOICE, short_vector, split_adapter_id


class ChoiceJobs:
    """The part of a Study that knows `choice`. Without the key, it names no job and no file."""

    config: Mapping
    results: str
    states: Callable[[], list[tuple[str, str]]]
    readouts: Callable[[], list[dict]]
    adapter_pairs: Callable[[str], list[str]]
    vectors_of_texts: Callable[[str, str, str], str]

    def choice_adapters(self) -> list[str]:
        """The adapters whose checkpoints are candidates: those named, or all of the grid that hold pairs out."""
        known = {split_adapter_id(one)[0] for one in adapter_ids(self.config)} - {BASE}
        named = self.config["choice"]["adapters"]
        adapters = self.config["adapters"]
        held = [name for name in adapters if not untrained(adapters[name]) and adapters[name]["validation"]]
        return [name for name in held if name in known and (named is None or name in named)]

    def choice_states(self) -> list[tuple[str, str]]:
        """(model, adapter id) of every candidate checkpoint: each grid model untuned, and the first seed's steps."""
        if self.config["choice"] is None:
            return []
        known = {BASE, *self.choice_adapters()}
        return [(model, adapter) for model, adapter in self.states() if split_adapter_id(adapter)[0] in known]

    def choice_sets(self) -> list[str]:
        """The sets of pairs that are looked at: those of the candidates, or all if none is trained."""
        own = [name for adapter in self.choice_adapters() for name in self.adapter_pairs(adapter)]
        return list(dict.fromkeys(own)) or list(self.config["pairs"])

    def choice_trainings(self) -> dict[str, dict]:
        """Adapter -> what decides which pairs its training saw."""
        adapters = self.config["adapters"]
        return {
            name: {"pairs": self.adapter_pairs(name), **{key: adapters[name][key] for key in ("validation", "seed")}}
            for name in self.choice_adapters()
        }

    def choice_files(self) -> list[str]:
        """The files of the held-out pairs and of their texts."""
        return [f"{self.results}/choice/{name}.parquet" for name in ("pairs", "texts")]

    def choice_inputs(self) -> dict[str, list[str]]:
        """What the proposal reads of each candidate checkpoint, in the order of choice_states. No task's file."""
        states = self.choice_states()
        fitted = states if self.choice_readouts() else []
        return {
            "vectors": [self.vectors_of_texts(CHOICE, *state) for state in states],
            "statistics": [f"{self.results}/statistics/{model}/{adapter}/fitted.json" for model, adapter in fitted],
        }

    def choice_readouts(self) -> list[dict]:
        """The candidates beside the grid's poolings: all readouts but short vectors, which are never better."""
        own = self.readouts() if self.config["choice"] is not None else []
        return [one for one in own if not any(short_vector(part["post_processing"]) for part in one["parts"])]

    def choice_tables(self) -> list[str]:
        """What the choice scores, and how well the criteria rank; none without a choice."""
        made = self.config["choice"] is not None
        return [f"{self.results}/choice/{name}.parquet" for name in ("outcome", "agreement")] if made else []

    def choice_criterion(self) -> str | None:
        return (self.config["choice"] or {"criterion": None})["criterion"]

    def paper_variant(self) -> list | None:
        """The paper's recipe in this study: the last step of the first candidate adapter, its own prompt, the last
        token of the last layer. None if no adapter is a candidate.
        """
        if self.config["choice"] is None or not self.choice_adapters():
            return None
        name = self.choice_adapters()[0]
        spec = self.config["adapters"][name]
        return [spec["model"], name, max(spec["steps"]), spec["prompt"], "last", -1]
