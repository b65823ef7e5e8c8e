"""Batches: every pair once, by weight, of like length where asked, and the same from any epoch on."""

import numpy as np
import pytest
from promptpool.training.sampler import BATCHES_SORTED, PairBatches, batch_shares


def flat(batches: np.ndarray) -> list[int]:
    return sorted(batches.ravel().tolist())


def test_an_epoch_has_every_pair_once_but_for_the_last_small_batch():
    batches = PairBatches([10, 11], 4, seed=1).batches(0)
    assert batches.shape == (5, 4)
    assert len(set(flat(batches))) == 20


def test_seed_and_epoch_alone_decide():
    one, same, other = (PairBatches([50], 8, seed=seed) for seed in (1, 1, 2))
    assert (one.batches(3) == same.batches(3)).all()
    assert (one.batches(0) != one.batches(1)).any() and (one.batches(0) != other.batches(0)).any()


def test_a_sampler_set_to_an_epoch_gives_that_epoch():
    resumed, running = PairBatches([30], 8, seed=4), PairBatches([30], 8, seed=4)
    epochs = []
    for epoch in range(3):
        running.set_epoch(epoch)
        epochs.append(list(running))
    resumed.set_epoch(2)
    assert list(resumed) == epochs[2] != epochs[1]


def test_micro_batches_and_ranks_get_parts_of_the_same_batch():
    whole, parts = PairBatches([40], 12, seed=1), PairBatches([40], 12, seed=1, rows=4)
    assert len(parts) == 3 * len(whole) == 9 and parts.batch_size == 4
    lists = list(parts)
    joined = [[*lists[i], *lists[i + 1], *lists[i + 2]] for i in range(0, 9, 3)]
    assert joined == list(whole)


def test_weights_part_the_draws_and_draw_none_twice_before_all():
    batches = PairBatches([100, 20], 10, seed=3, weights=[1, 3])
    assert batches.counts == [30, 90]
    drawn = [flat(batches.batches(epoch)) for epoch in range(10)]
    for epoch in drawn:
        assert sum(pair < 100 for pair in epoch) == 30
    first = [pair for epoch in drawn for pair in epoch if pair < 100]
    assert sorted(first) == sorted(list(range(100)) * 3)  # 300 draws of 100 pairs: each three times
    second = np.bincount([pair - 100 for pair in drawn[0] if pair >= 100], minlength=20)
    assert second.min() == 4 and second.max() == 5


@pytest.mark.parametrize(
    ("total", "weights", "wanted"), [(10, [1, 1], [5, 5]), (10, [1, 2], [3, 7]), (7, [0.5, 0.25, 0.25], [3, 2, 2])]
)
def test_shares_are_whole_and_add_up(total, weights, wanted):
    assert batch_shares(total, weights) == wanted


def padding(batches: np.ndarray, lengths: np.ndarray) -> float:
    widths = lengths[batches]
    return 1 - widths.sum() / (widths.max(1) * widths.shape[1]).sum()


def test_grouping_by_length_saves_padding_and_keeps_the_pairs():
    lengths = np.random.default_rng(0).integers(5, 100, 5000)
    plain, grouped = (PairBatches([5000], 16, seed=2, lengths=known) for known in (None, lengths))
    assert flat(grouped.batches(1)) == flat(plain.batches(1))
    assert padding(grouped.batches(0), lengths) < 0.1 < 0.4 < padding(plain.batches(0), lengths)
    again = PairBatches([5000], 16, seed=2, lengths=lengths)
    assert (again.batches(1) == grouped.batches(1)).all()


def test_grouped_batches_come_in_random_order_and_meet_others_each_epoch():
    lengths = np.random.default_rng(0).integers(5, 100, 16 * BATCHES_SORTED * 3)
    grouped = PairBatches([len(lengths)], 16, seed=2, lengths=lengths)
    means = lengths[grouped.batches(0)].mean(1)
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3
    first, second = ({frozenset(batch) for batch in grouped.batches(epoch).tolist()} for epoch in (0, 1))
    assert not first & second
