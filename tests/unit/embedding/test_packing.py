"""Batches: every text once, within the budget, and each token attending to its own ancestors alone."""

import pytest
import torch
from promptpool.embedding.packing import Trunk, longest_first, pack_trunks, plant, take, tiles_of

TREE = plant([[1, 2], [1, 3], []], eos_id=9)


def trunk(*ids: int) -> Trunk:
    return Trunk(ids, 0, len(ids))


def test_suffixes_share_the_tokens_they_begin_with():
    assert TREE.ids == (1, 2, 9, 3, 9, 9)
    assert TREE.parents == (-1, 0, 1, 0, 3, -1)
    assert TREE.depths == (0, 1, 2, 1, 2, 0)
    assert TREE.paths == ((0, 1), (0, 3), ()) and TREE.ends == (2, 4, 5)


def test_a_suffix_that_ends_inside_another_is_still_apart_from_it():
    tree = plant([[1], [1, 2]])
    assert tree.paths == ((0,), (0, 1)) and tree.ends == ()
    assert tree.is_chain and not TREE.is_chain


def test_a_branch_sees_its_trunk_and_its_own_path_alone():
    batch = pack_trunks([trunk(5, 6, 7), trunk(5)], plant([[1, 2], [3]]), pad_id=0, slack=0.5)
    (tile,) = batch.tiles
    assert batch.ids.view(2, -1).tolist() == [[5, 6, 7, 1, 2, 3], [5, 0, 0, 1, 2, 3]]
    assert batch.positions.view(2, -1)[:, 3:].tolist() == [[3, 4, 3], [1, 2, 1]]
    seen = [[row.nonzero().flatten().tolist() for row in rows] for rows in tile.allowed(batch.tree, 0)[:, 0]]
    assert seen[0] == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4], [0, 1, 2, 5]]
    assert seen[1][3:] == [[0, 3], [0, 3, 4], [0, 5]]


def test_everyone_sees_the_head_and_positions_follow_it():
    batch = pack_trunks([trunk(5, 6)], plant([[1]]), pad_id=0, head=3)
    assert batch.positions.tolist() == [[3, 4, 5]]
    allowed = batch.tiles[0].allowed(batch.tree, 3)[0, 0]
    assert allowed.shape == (3, 6) and allowed[:, :3].all()


@pytest.mark.parametrize("head", [0, 3])
def test_a_window_counts_positions_not_columns(head):
    batch = pack_trunks([trunk(5, 6, 7)], plant([[1, 2], [3]]), pad_id=0, head=head)
    allowed = batch.tiles[0].allowed(batch.tree, head, window=2)[0, 0]
    # The third suffix token stands at the trunk's end, though two columns lie between.
    assert allowed[5].nonzero().flatten().tolist() == [head + 2, head + 5]
    assert allowed[0].nonzero().flatten().tolist() == ([head - 1] if head else []) + [head]


def test_every_row_of_the_mask_attends_to_something():
    batch = pack_trunks([trunk(5, 6, 7), trunk(5)], TREE, pad_id=0, slack=1.0)
    assert batch.tiles[0].allowed(TREE, 0).any(-1).all()


def test_texts_of_one_length_share_a_mask():
    batch = pack_trunks([trunk(5, 6), trunk(7, 8), trunk(1)], TREE, pad_id=0)
    assert [(tile.rows, tile.even, tile.allowed(TREE, 0).shape[0]) for tile in batch.tiles] == [
        (2, True, 1),
        (1, True, 1),
    ]


def test_tiles_hold_every_text_and_little_padding():
    lengths = [100, 99, 98, 60, 59, 3, 1]
    assert tiles_of(lengths, 0.0) == [1] * 7
    assert tiles_of(lengths, 0.05) == [3, 2, 1, 1]
    assert tiles_of([], 0.05) == []


def test_batches_stay_within_the_budget_and_hold_every_text_once():
    costs = [5, 90, 1, 30, 30, 7, 2]
    order, start, groups = longest_first(costs), 0, []
    while start < len(order):
        groups.append(list(take(order, costs, start, 60)))
        start += len(groups[-1])
    assert sorted(index for group in groups for index in group) == list(range(len(costs)))
    assert all(len(group) == 1 or sum(costs[i] for i in group) <= 60 for group in groups)


def test_ancestors_of_a_node_end_at_the_trunk():
    assert TREE.ancestors.sum(1).tolist() == [1, 2, 3, 2, 3, 1]
    assert torch.equal(TREE.ancestors, TREE.ancestors.tril())
