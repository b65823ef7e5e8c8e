"""Which checkpoints' attention a study measures, and how."""

from collections.abc import Callable, Mapping

from ..artifacts.files import file_digest
from ..text.function_words import FUNCTION_WORDS

LOOKS = ("omissions", "value_norms")  # further stages of their own


class AttentionJobs:
    """The part of a Study that knows attention."""

    config: Mapping
    adapters: list[str]
    states: Callable[[], list[tuple[str, str]]]

    def attention_states(self) -> list[tuple[str, str]]:
        """(model, adapter id) of everything whose attention is measured: of several seeds, the first."""
        chosen = (self.config["attention"] or {"adapters": []})["adapters"]
        first = [(model, adapter) for model, adapter in self.states() if adapter in self.adapters]
        return [state for state in first if chosen is None or state[1] in chosen]

    def attention_spec(self) -> dict:
        spec = self.config["attention"]
        if spec is None:
            return {}
        kept = {key: spec[key] for key in spec if key not in ("prompts", "task", "adapters", *LOOKS)}
        same = {key: self.config["grid"][key] for key in ("max_text_tokens", "text_normalisation")}
        return {**kept, **same, "seed": self.config["seed"]}

    def weighs_values(self) -> bool:
        """Whether attention is measured by value norms too."""
        return (self.config["attention"] or {"value_norms": False})["value_norms"]

    def omitted_texts(self) -> int:
        """Of how many texts each word is left out in turn."""
        return (self.config["attention"] or {"omissions": 0})["omissions"]

    def attention_prompts(self) -> dict[str, str]:
        """Prompt name -> template, in the order of the config."""
        return {name: self.config["prompts"][name] for name in (self.config["attention"] or {"prompts": []})["prompts"]}

    def attention_words(self) -> str | None:
        """The digest of the word list that separates function words from content words."""
        spec = self.config["attention"]
        return file_digest(spec["function_words"] or FUNCTION_WORDS) if spec else None
