"""The seeds of training in intervals: by hand, and in studies that train other seeds on other documents."""

import random

import numpy as np
import pandas as pd
import pytest
from promptpool.statistics.best import best_difference, ranks
from promptpool.statistics.documents import document_counts, of_clusters
from promptpool.statistics.estimates import Part, Sample, interval, over_seeds, paired
from promptpool.statistics.samples import VARIANT, samples_by_variant, seeds_of
from promptpool.statistics.seeds import deviations
from scipy import stats
from sklearn.cluster import MiniBatchKMeans

STUDIES = 80


def one(score: float, runs=(0.0, 0.0), replicates=(0.0, 0.0)) -> Sample:
    """A training's score, with runs and replicates as deviations from it."""
    return Sample(score, (Part(score + np.array([runs]), score + np.array(replicates)),))


def still(**seeds: float) -> Sample:
    """Trainings whose documents and k-means move nothing: s7=0.3 is seed 7."""
    return over_seeds({int(name[1:]): one(score) for name, score in seeds.items()})


def test_the_seeds_variance_joins_that_of_documents_and_runs_by_hand():
    runs, replicates = np.array([[0.1, 0.3, 0.2], [0.3, 0.1, 0.5]]), np.array([[1.0, 2, 4], [1.0, 4, 1]]) / 100
    found = over_seeds({3: one(0.40, runs[0], replicates[0]), 8: one(0.46, runs[1], replicates[1])})
    squares = [
        np.var(replicates.mean(axis=0), ddof=1),
        np.var(runs.mean(axis=0), ddof=1) / 3,
        np.var([0.40, 0.46], ddof=1) / 2,
    ]
    estimate, total = interval({"a": found}), sum(squares)
    assert estimate.estimate == pytest.approx(0.43)
    assert estimate.error == pytest.approx(np.sqrt(total))
    freedom = (squares[0] + squares[1]) ** 2 / (squares[0] ** 2 / 2 + squares[1] ** 2 / 2)
    both = (squares[0] + squares[1]) * stats.t.ppf(0.975, freedom) + squares[2] * stats.t.ppf(0.975, 1)
    assert estimate.high - 0.43 == pytest.approx(both / total * np.sqrt(total))
    assert (estimate.p < 0.05) == (estimate.low > 0)


def test_one_seed_changes_nothing():
    single = one(0.4, (0.1, 0.2), (0.01, 0.03))
    assert vars(interval({"a": over_seeds({7: single})})) == pytest.approx(vars(interval({"a": single})))
    assert over_seeds({7: single}).seeds == {}


def test_what_seeds_do_to_all_tasks_does_not_shrink_with_their_number():
    lucky = {task: still(s0=0.3, s1=0.5) for task in "abcd"}
    assert interval(lucky).error == pytest.approx(interval({"a": lucky["a"]}).error) == pytest.approx(0.1)
    opposite = {"a": still(s0=0.3, s1=0.5), "b": still(s0=0.5, s1=0.3)}
    assert interval(opposite).error == pytest.approx(0)


def test_shared_seeds_are_paired_and_others_are_added():
    ours, theirs = still(s0=0.30, s1=0.50), still(s0=0.20, s1=0.40)
    assert paired({"a": ours}, {"a": theirs}).error == pytest.approx(0)
    elsewhere = still(s0=0.20, s2=0.40)
    assert paired({"a": ours}, {"a": elsewhere}).error == pytest.approx(np.sqrt(0.1**2 + 0.1**2))
    untuned = one(0.1)
    assert paired({"a": ours}, {"a": untuned}).error == pytest.approx(0.1)


def test_the_best_of_many_and_ranks_count_seeds_once_for_all_tasks():
    family = {"x": still(s0=0.3, s1=0.5), "y": still(s0=0.52, s1=0.3)}
    variants = [{"a": sample, "b": sample} for sample in family.values()]
    found = best_difference(variants, 1, [{"a": one(0.1), "b": one(0.1)}], 0)
    assert found.error == pytest.approx(0.11) and found.low < 0 < found.high  # two seeds say little
    places = ranks(dict(zip("xy", variants, strict=True)))
    assert 0.3 < places["x"].p_best < 0.7  # and the same draws move both tasks: no averaging over them
    sure = ranks({"x": {"a": one(0.3)}, "y": {"a": one(0.31)}})
    assert sure["y"].p_best == 1


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("ratio", [0.2, 1, 5])
def test_few_seeds_are_covered_whatever_their_share(seeds, ratio):
    """Normal scores: documents of variance 1, 18 degrees of freedom, and means over seeds of variance `ratio`."""
    rng = np.random.default_rng(1)
    covered, studies = 0, 1500
    for _ in range(studies):
        trained = rng.normal(0, np.sqrt(ratio * seeds), seeds)
        documents = rng.standard_normal(19)
        moved = rng.standard_normal()
        part = Part(np.array([[0.0]]), documents)
        sample = Sample(moved + trained.mean(), (part,), True, deviations(dict(enumerate(trained))))
        found = interval({"a": sample})
        covered += found.low <= 0 <= found.high
    assert 0.935 <= covered / studies <= 0.99


def test_seeds_with_other_experiments_are_refused():
    with pytest.raises(ValueError, match="the same experiments of every seed"):
        over_seeds({0: one(0.1), 1: one(0.1, (0.1, 0.2, 0.3))})


def test_rows_of_several_seeds_are_one_variant():
    rows = [
        ("m", "tuned", 4, seed, "p", "last", -1, "a", "test", "default", "L", number, "main_score", value + number / 10)
        for seed, value in ((7, 0.2), (1, 0.4), (None, 0.1))
        for number in range(2)
    ]
    place = ["task", "split", "subset", "level", "experiment", "metric", "value"]
    columns = [*VARIANT[:3], "seed", *VARIANT[3:], *place]
    table = pd.DataFrame(rows, columns=columns).astype({"seed": "Int64"})
    own, base = table[table["seed"].notna()], table[table["seed"].isna()].assign(adapter="base", step=0)
    facts = {"a": {"experiments": "sets"}}
    found = samples_by_variant(pd.concat([base, own]), facts)
    tuned = found["m", "tuned", 4, "p", "last", -1]
    assert tuned["a"].estimate == pytest.approx(0.35) and seeds_of(tuned) == 2
    assert tuned["a"].seeds[1, 7] == pytest.approx([0.1 / np.sqrt(2), -0.1 / np.sqrt(2)])
    assert seeds_of(found["m", "base", 0, "p", "last", -1]) == 1


def study(rng: np.random.Generator, seeds: int = 3) -> tuple[Sample, list[Sample]]:
    """(the untuned score, the trainings' scores) of one task, scored as MTEB does: ten draws, one k-means each.

    Tuning takes noise away, and how much depends on the seed.
    """
    documents, topics = 200, 6
    labels = rng.integers(0, topics, documents)
    base = np.eye(topics, 8)[labels] * 2.2 + rng.standard_normal((documents, 8))
    counts, found = document_counts(documents, str(rng.integers(2**60))), []
    for noise in (1.1, *np.clip(0.8 + 0.45 * rng.standard_normal(seeds), 0.05, 2.5)):
        matrix = (base + noise * rng.standard_normal(base.shape)).astype(np.float32)
        state, rows, clusters = random.Random(42), [], []
        for _ in range(10):
            rows.append(np.array(state.choices(range(documents), k=documents)))
            means = MiniBatchKMeans(topics, batch_size=512, n_init=1, random_state=42)
            clusters.append(means.fit_predict(matrix[rows[-1]]))
        values = of_clusters([labels[own] for own in rows], clusters, rows, counts)
        part = Part(values[None, :, 0], values[:, 1:].mean(axis=0), held=True)
        found.append(Sample(values[:, 0].mean(), (part,)))
    return found[0], found[1:]


def test_the_interval_with_seeds_covers_and_the_one_without_does_not():
    """Another study has other documents, other clusters and other seeds."""
    rng = np.random.default_rng(5)
    drawn = [study(rng) for _ in range(STUDIES)]
    means = [over_seeds(dict(enumerate(trainings))) for _, trainings in drawn]
    taken_as_given = [Sample(one.estimate, one.parts) for one in means]
    truth = np.mean([mean.estimate - start.estimate for mean, (start, _) in zip(means, drawn, strict=True)])

    def covered(side: list[Sample]) -> float:
        found = [paired({"": tuned}, {"": start}) for tuned, (start, _) in zip(side, drawn, strict=True)]
        return float(np.mean([one.low <= truth <= one.high for one in found]))

    assert 0.90 <= covered(means) <= 1.0
    assert covered(taken_as_given) < 0.85 < covered(means) - 0.05
