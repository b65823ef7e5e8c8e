"""Which adapter a study's verdict is about, and the files that this takes."""

from collections.abc import Callable, Mapping

from ..config.adapters import inner_layer, recipe, trainings, untrained
from ..variants import BASE, split_adapter_id

HOW = ("styles", "model", "corpus")  # what is said of a set of pairs


class JudgedAdapter:
    """The part of a Study that knows the verdict. A study that trains no adapter has none."""

    config: Mapping
    results: str
    model: Callable[[str], dict]
    snapshot: Callable[[str, str], list[str]]
    adapter_pairs: Callable[[str], list[str]]
    template_of: Callable[[str], str | dict[str, str]]

    def judged_adapter(self) -> str | None:
        """The adapter of the first export that is trained here, else the first one that is. By name, not by result."""
        adapters = self.config["adapters"]
        here = [name for name, spec in sorted(adapters.items()) if not untrained(spec)]
        exported = [split_adapter_id(spec["adapter"])[0] for _, spec in sorted(self.config["exports"].items())]
        return next((name for name in (*exported, *here) if name in here), None)

    def verdict(self) -> list[str]:
        """The verdict's files, JSON and text, as a rule's input; none without an adapter that is trained here."""
        return [f"{self.results}/verdict.{end}" for end in ("json", "txt")] if self.judged_adapter() else []

    def judged_trainings(self) -> list[str]:
        """The trainings that are judged, one for each seed; none if no pair is held out of them."""
        name = self.judged_adapter()
        return trainings(self.config, name) if name and self.config["adapters"][name]["validation"] else []

    def judged_inputs(self) -> dict[str, list[str]]:
        """What the verdict reads, by kind."""
        names, spec = self.judged_trainings(), self.config["adapters"].get(self.judged_adapter())
        if not names:
            return {"adapters": [], "pairs": [], "snapshot": []}
        return {
            "adapters": [f"{self.results}/adapters/{name}" for name in names],
            "pairs": [f"{self.results}/pairs/{name}/pairs.parquet" for name in self.adapter_pairs(names[0])],
            "snapshot": self.snapshot("models", spec["model"]),
        }

    def judged_vectors(self) -> list[str]:
        """The manifests of the held-out texts' vectors: of the untuned model and of each training."""
        names = [BASE, *self.judged_trainings()]
        return [f"{self.results}/verdict/{name}/vectors.json" for name in names] if len(names) > 1 else []

    def judged_grid(self) -> dict:
        """How the study embeds, without the grid's poolings and layers; empty if nothing is judged."""
        kept = ("max_text_tokens", "tokenization", "text_normalisation", "storage")
        return {key: self.config["grid"][key] for key in kept} if self.judged_trainings() else {}

    def judged_spec(self) -> dict:
        """What is judged, as `scoring.judge_tuning.Judged` but for the files."""
        name = self.judged_adapter()
        if not name:
            return {}
        spec = self.config["adapters"][name]
        own = {training: recipe(self.config, training) for training in trainings(self.config, name)}
        kept, pairs = ("validation", "batch_size", "learning_rate"), self.config["pairs"]
        return {
            "adapter": name,
            "model": spec["model"],
            "step": max(spec["steps"]),
            "seeds": {own[training]["seed"]: training for training in self.judged_trainings()},
            "prompt": spec["prompt"],
            "template": self.template_of(spec["prompt"]),
            "pooling": spec["pooling"],
            **inner_layer(spec),
            "sets": {one: {key: pairs[one][key] for key in HOW} for one in self.adapter_pairs(name)},
            "recipe": {key: own[name][key] for key in kept},
        }
