"""How many texts a task has and how long they are, as far as that is known before it is read."""

import math
from typing import NamedTuple

from ..config.long_texts import long_texts_of
from ..tasks.catalogue import catalogue
from ..variants import CUT_TEXTS, MAX_SIM
from .plan_sizes import assumptions
from .study import Study


class TextSize(NamedTuple):
    """texts; tokens that are read of one, on average, without a prompt; chunks: how many times a prompt goes round it;
    vectors: of a text; note: what is uncertain.
    """

    texts: float
    tokens: float
    chunks: float = 1
    vectors: float = 1
    note: str = ""


def task_size(study: Study, name: str) -> TextSize:
    """A task's texts, cut as the grid cuts, or in chunks. All of a task's texts count as long as their mean."""
    spec, most = study["tasks"][name], study["grid"]["max_text_tokens"]
    if spec["source"] == "mteb":
        counted = catalogue()["texts"].get(spec["name"])
        if counted and counted[0]:
            length = counted[1] / counted[0] / assumptions()["characters_per_token"]
            return TextSize(counted[0], *read_of(length, most, long_texts_of(study.config, name)))
        return TextSize(10_000, most / 4, note=f"{name} not counted by MTEB")
    return TextSize(1_000, most / 4, note=f"{name} not counted")


def read_of(length: float, most: int, spec: dict) -> tuple[float, float, float]:
    """(tokens that are read of a text of this length, in how many chunks, vectors of it). Chunks that end with a
    sentence or a word hold three quarters of `most`, about.
    """
    if spec["how"] == CUT_TEXTS or length <= most:
        return min(most, length), 1, 1
    own = max(1.0, max(0.75 * most, spec["overlap"] + 1) - spec["overlap"])  # what a chunk adds
    chunks = math.ceil((length - spec["overlap"]) / own)
    return length + (chunks - 1) * spec["overlap"], chunks, chunks if spec["how"] == MAX_SIM else 1
