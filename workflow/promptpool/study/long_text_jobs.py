"""What a study's `long_texts` ask for: params of the jobs that embed, score and export. Without chunks, none."""

from collections.abc import Callable, Mapping

from ..config.long_texts import LONG_TEXT_KEYS, long_texts_of
from ..variants import CUT_TEXTS, FITTING, MAX_SIM, MEAN_OF_CHUNKS


class LongTextJobs:
    """The part of a Study that knows which tasks' long texts are embedded in chunks."""

    config: Mapping
    embedded_tasks: Callable[[str], list[str]]

    def in_chunks(self) -> dict[str, dict]:
        """Task -> `how` (mean or max-sim) and `overlap`, of those that are not cut."""
        found = {task: long_texts_of(self.config, task) for task in self.config["tasks"]}
        return {task: spec for task, spec in found.items() if spec["how"] != CUT_TEXTS}

    def share_in_chunks(self, share: str) -> dict[str, dict]:
        """The same of what a share embeds: the fitting texts too, if the grid takes means of chunks."""
        grid, known = self.config["grid"], self.in_chunks()
        if grid["long_texts"] == MEAN_OF_CHUNKS:  # statistics are of vectors like those that they are applied to
            known[FITTING] = {"how": MEAN_OF_CHUNKS, "overlap": grid["chunk_overlap"]}
        return {task: known[task] for task in self.embedded_tasks(share) if task in known}

    def max_sim(self, share: str) -> list[str]:
        """The tasks of a share whose documents are compared chunk by chunk."""
        return [task for task, spec in self.share_in_chunks(share).items() if spec["how"] == MAX_SIM]

    def chunk_params(self) -> dict:
        """`long_texts` as a param of embedding; nothing without chunks, so that no job runs again."""
        return {"long_texts": lambda w: self.share_in_chunks(w.share)} if self._any() else {}

    def max_sim_params(self) -> dict:
        """`max_sim` as a param of scoring; nothing without."""
        named = any(spec["how"] == MAX_SIM for spec in self.in_chunks().values())
        return {"max_sim": lambda w: self.max_sim(w.share)} if named else {}

    def chunk_facts(self) -> dict:
        """`long_texts`, task -> `how` and `overlap`, for what a text costs; nothing without chunks."""
        return {"long_texts": self.in_chunks()} if self.in_chunks() else {}

    def export_chunks(self) -> dict:
        """The same as a param of an export, with the size of a chunk as `at`."""
        at = self.config["grid"]["max_text_tokens"]
        known = {task: {**spec, "at": at} for task, spec in self.in_chunks().items()}
        return {"long_texts": known} if known else {}

    def without_chunks(self, config: Mapping) -> dict:
        """A config without the keys of chunks, where it asks for none: as it was before there were any."""
        if self._any():
            return dict(config)
        return {**config, "grid": {key: value for key, value in config["grid"].items() if key not in LONG_TEXT_KEYS}}

    def _any(self) -> bool:
        return bool(self.in_chunks()) or self.config["grid"]["long_texts"] != CUT_TEXTS
