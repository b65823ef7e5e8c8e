"""Which candidates of a step are no negatives of a row: texts that are its own, and places that hold no text."""

import torch
from torch import Tensor

ABSENT = -1  # the identity of a hard negative that a pair does not have


def false_negatives(ids: Tensor, rows: Tensor) -> Tensor:
    """Which candidates are not negatives of a row. bool [rows, n].

    ids: int [n, 2], the identities of every pair's anchor and positive; equal numbers are equal texts. Candidate j
    (the positive of pair j) is masked for row i if its text is i's anchor or i's positive, or if its own anchor is
    i's. A row's own positive is never masked. With the columns swapped this is the mask of the other direction.
    """
    anchor, positive = ids.unbind(1)
    own_anchor, own_positive = anchor[rows, None], positive[rows, None]
    same = (positive == own_anchor) | (positive == own_positive) | (anchor == own_anchor)
    same[torch.arange(len(rows), device=rows.device), rows] = False
    return same


def false_hard_negatives(ids: Tensor, rows: Tensor, mask_duplicates: bool) -> Tensor:
    """The same of hard negatives, bool [rows, k * n]: every pair's first one, then every pair's second one, ...

    ids: int [n, 2 + k], anchor, positive, and k hard negatives. One that is ABSENT is always masked; with
    mask_duplicates also one whose text is the row's anchor or positive.
    """
    negatives = ids[:, 2:].T.reshape(1, -1)
    hidden = (negatives == ABSENT).expand(len(rows), -1)
    if mask_duplicates:
        own = ids[rows]
        hidden = hidden | (negatives == own[:, :1]) | (negatives == own[:, 1:2])
    return hidden
