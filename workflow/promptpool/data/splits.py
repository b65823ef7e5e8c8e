"""Which rows of a corpus training may see, and which are set aside for tasks: its column `split`.

The names of the splits are in `variants`, as the config check reads them where only Snakemake is installed.
"""

from collections.abc import Sequence

from ..artifacts.files import text_digest
from ..text.normalisation import normalise
from ..variants import TASK, TRAIN


def splits_of(texts: Sequence[str], task_share: float | None) -> list[str]:
    """TASK for a share of the texts (0 to 1; None or 0: for none), TRAIN for the others.

    A text is drawn by the digest of its words, so adding texts moves none to the other side, and texts that are the
    same but for case, spacing and punctuation are on one side.
    """
    if not task_share:
        return [TRAIN] * len(texts)
    return [TASK if _drawn(text) < task_share else TRAIN for text in texts]


def _drawn(text: str) -> float:
    """A number from 0 to 1 that only the text's words decide."""
    return int(text_digest(f"split:{normalise(text)}")[:8], 16) / 0x1_0000_0000
