"""A study's trainings: their names, what each is trained on, and where its weights lie.

An adapter with several seeds has a training for each. The first one has the adapter's name, the others `name~seed`.
"""

from collections.abc import Mapping

from ..config.adapters import recipe, trainings, untrained
from ..config.resolve import adapter_of
from ..variants import split_seed


class Trainings:
    """The part of a Study that knows its adapters."""

    config: Mapping
    results: str

    def trainings(self) -> list[str]:
        """Every training: each adapter's name, and `name~seed` for its further seeds."""
        return [training for name in self.config["adapters"] for training in trainings(self.config, name)]

    def adapter(self, training: str) -> Mapping:
        """The config's entry of a training's adapter."""
        return self.config["adapters"][split_seed(training)[0]]

    def first_seeds(self) -> dict[str, int]:
        """Adapter -> the seed of the training that has its name; none for one that is not trained here."""
        return {name: spec["seed"] for name, spec in self.config["adapters"].items() if not untrained(spec)}

    def adapter_input(self, adapter: str) -> list[str]:
        """The directory of an adapter id, as a rule's input; nothing for `base`."""
        return [] if adapter == "base" else [f"{self.results}/adapters/{adapter_of(self.config, adapter)[0]}"]

    def adapter_checks(self) -> list[str]:
        """The files that confirm that the scored adapters were trained on the right pairs, as a rule's input."""
        scored = {adapter_of(self.config, adapter)[0] for _, adapter in self.states() if adapter != "base"}
        names = sorted(scored.union(*(self.members_of(name) for name in scored)))
        return [f"{self.results}/checks/training_data/{name}.json" for name in names]

    def members_of(self, name: str) -> set[str]:
        """The adapters that a mean is of; none for another adapter."""
        return {adapter_of(self.config, member)[0] for member in self.adapter(name)["mean_of"] or ()}

    def adapter_members(self, name: str) -> list[str]:
        """Their directories, as a rule's input."""
        return [f"{self.results}/adapters/{member}" for member in sorted(self.members_of(name))]

    def adapter_path(self, adapter: str) -> str | None:
        """The directory of one step's weights; None for `base`."""
        step = adapter_of(self.config, adapter)[1]
        return f"{self.adapter_input(adapter)[0]}/step-{step}" if adapter != "base" else None

    def adapter_spec(self, name: str) -> dict:
        """What changes an adapter's weights, and nothing else."""
        return recipe(self.config, name)

    def adapter_pairs(self, name: str) -> list[str]:
        """The pair sets an adapter is trained on, in the order of their weights."""
        return list(self.adapter(name)["pairs"] or ())

    def trained_corpora(self, name: str) -> set[str]:
        """The corpora that an adapter's pairs are from; of a mean, its members'. Empty for one that others trained."""
        sets = [self.config["pairs"][pairs]["corpus"] for pairs in self.adapter_pairs(name)]
        return set(filter(None, sets)).union(*map(self.trained_corpora, self.members_of(name)))
