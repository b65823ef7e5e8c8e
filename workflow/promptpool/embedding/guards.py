"""Guards of the embedding pass: a text without a token, a vector that is no number, one vector for all texts."""

from collections.abc import Sequence

import numpy as np

from ..errors import PromptpoolError
from ..variants import Key, key_text, split_pooling
from .batches import TreeWork
from .packing import Trunk

ROUNDING = 1e-6  # of the largest number: ten times less than what any text changes


def require_tokens(work: TreeWork, texts: Sequence[str], trunks: Sequence[Trunk]) -> None:
    """PromptpoolError that names the first text without a token for some pooling."""
    layout = work.layout
    bare = next((row for row, trunk in enumerate(trunks) if not trunk.ids), None)
    empty = next((row for row, trunk in enumerate(trunks) if trunk.stop == trunk.start), None)
    for pooling in layout.poolings:
        name, span = split_pooling(pooling)
        row = empty if span == "text" else bare
        if name == "eos" or row is None:
            continue
        for template, path in zip(work.templates, layout.tree.paths, strict=True):
            if span == "text" or not (path or layout.head):
                raise PromptpoolError(
                    f"texts: {texts[row][:80]!r} has no token under prompt {template.name!r} for pooling {pooling}; "
                    "drop empty texts"
                )


def require_finite(rows: np.ndarray, group: Sequence[int], texts: Sequence[str], key: Key) -> None:
    """PromptpoolError that names the first text whose vector is not finite."""
    bad = np.flatnonzero(~np.isfinite(rows).all(1))
    if len(bad):
        raise PromptpoolError(
            f"embedding {key_text(key)}: vector of {texts[group[bad[0]]][:80]!r} is not finite; use dtype float32"
        )


def same_everywhere(rows: np.ndarray, trunks: Sequence[Trunk]) -> bool:
    """Whether texts of different tokens all have one vector, but for rounding. rows: [texts, dim]."""
    return alike(rows[:2]) and alike(rows) and len({tuple(trunk.ids) for trunk in trunks}) > 1


def alike(rows: np.ndarray) -> bool:
    """Whether all rows are the first one, but for the rounding of float32: what positions and batches change."""
    return bool(np.abs(rows - rows[0]).max() <= ROUNDING * np.abs(rows).max())
