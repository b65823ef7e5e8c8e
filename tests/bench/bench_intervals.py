"""What intervals keep: python tests/bench/bench_intervals.py [--data FOLDER] [--studies 200] [--only clinc] [--seed 7]

Each case is a population. A study draws documents from it and scores three variants as MTEB would. Over many studies a
95 % interval of a paired difference must hold the mean of all studies' differences in 95 of 100. Printed a case:

- coverage of the differences (all three pairs), and of single scores;
- width: mean squared standard error / true variance of a difference;
- half-width of the interval in points (score x 100), and power: the share of studies that find a difference, for the
  pair that differs most. In brackets what s^2 (m / n + 1 / 10) gives, with 9 degrees of freedom.

--data: a folder of labelled parquet files (text, label) such as banking77; their vectors are TF-IDF + SVD, of words in
32 and 16 dimensions and of letters in 32. Documents are drawn with replacement, so a file is an endless population.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from promptpool.statistics.bootstrap import of_classes, of_correlation, of_pair_classes, of_queries
from promptpool.statistics.documents import document_counts, of_clusters
from promptpool.statistics.estimates import Part, Sample, interval, over_seeds
from scipy import stats
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

PAIRS = ((0, 1), (0, 2), (1, 2))
NOISE = (0.5, 0.5, 0.6)  # of three variants, of which two are equally good
Study = list[Sample]  # a sample per variant
Documents = tuple[np.ndarray, list[np.ndarray]]  # labels, and a matrix per variant


def gaussian(topics: int, dim: int = 24, apart: float = 0.75) -> Callable[[np.random.Generator, int], Documents]:
    """Documents around topics' centres, seen by each variant with noise of its own."""
    centres = np.random.default_rng(99).standard_normal((topics, dim)) * apart

    def draw(rng: np.random.Generator, count: int) -> Documents:
        labels = rng.integers(0, topics, count)
        base = centres[labels] + rng.standard_normal((count, dim))
        return labels, [(base + noise * rng.standard_normal(base.shape)).astype(np.float32) for noise in NOISE]

    return draw


def real(path: Path) -> Callable[[np.random.Generator, int], Documents]:
    """Documents of a labelled file."""
    table = pd.read_parquet(path)
    words = TfidfVectorizer(sublinear_tf=True, stop_words="english", min_df=2).fit_transform(table["text"])
    letters = TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(2, 4), min_df=3, max_features=20_000)
    by_words = TruncatedSVD(32, random_state=0).fit_transform(words)
    by_letters = TruncatedSVD(32, random_state=0).fit_transform(letters.fit_transform(table["text"]))
    labels = pd.factorize(table["label"])[0]
    matrices = [normalize(one).astype(np.float32) for one in (by_words, by_words[:, :16], by_letters)]

    def draw(rng: np.random.Generator, count: int) -> Documents:
        rows = rng.integers(0, len(labels), count)
        return labels[rows], [matrix[rows] for matrix in matrices]

    return draw


def kmeans(matrix: np.ndarray, clusters: int) -> np.ndarray:
    return MiniBatchKMeans(clusters, batch_size=512, n_init=1, init="k-means++", random_state=42).fit_predict(matrix)


def codes(labels: np.ndarray) -> np.ndarray:
    return np.unique(labels, return_inverse=True)[1]


def clustering(draw: Callable, documents: int, drawn: int, rng: np.random.Generator, levels: int = 1) -> Study:
    """AbsTaskClustering: ten draws a level; the coarser levels join neighbouring topics."""
    topics, matrices = draw(rng, documents)
    return scored(topics, matrices, documents, drawn, rng, levels)


def scored(topics: np.ndarray, matrices: list[np.ndarray], documents: int, drawn: int, rng: np.random.Generator,
           levels: int = 1) -> Study:  # fmt: skip
    labels = [codes(topics // 4**level) for level in range(levels)]
    counts = document_counts(documents, str(rng.integers(2**63)))
    found = []
    for matrix in matrices:
        state = random.Random(42)
        rows, own, clusters = [], [], []
        for level in labels:
            for _ in range(10):
                rows.append(np.array(state.choices(range(documents), k=drawn)))
                own.append(level[rows[-1]])
                clusters.append(kmeans(matrix[rows[-1]], level.max() + 1))
        values = of_clusters(own, clusters, rows, counts)
        part = Part(values[:, 0].reshape(levels, 10), values[:, 1:].mean(axis=0), held=True)
        found.append(Sample(values[:, 0].mean(), (part,)))
    return found


def trainings(documents: int, seeds: int, rng: np.random.Generator) -> Study:
    """An untuned variant, and two adapters that are means over the same seeds. A seed decides how much noise tuning
    takes away: half of that is shared by both adapters' trainings.
    """
    centres = np.random.default_rng(99).standard_normal((20, 24)) * 0.75
    topics = rng.integers(0, 20, documents)
    base = centres[topics] + rng.standard_normal((documents, 24))
    shared, own = rng.standard_normal(seeds), rng.standard_normal((2, seeds))
    noises = np.append(0.9, np.clip(0.5 + 0.15 * (shared + own), 0.05, 2))
    matrices = [(base + noise * rng.standard_normal(base.shape)).astype(np.float32) for noise in noises]
    untuned, *tuned = scored(topics, matrices, documents, documents, rng)
    sides = [over_seeds(dict(enumerate(side))) for side in (tuned[:seeds], tuned[seeds:])]
    return [untuned, *sides]


def sets(draw: Callable, documents: int, pool: int | None, rng: np.random.Generator) -> Study:
    """AbsTaskClusteringLegacy: ten sets, each of its own documents, or all drawn from one pool."""
    size = documents if pool is None else pool
    topics, matrices = draw(rng, 10 * documents if pool is None else size)
    rows = [np.arange(documents) + place * documents for place in range(10)]
    if pool is not None:
        rows = [rng.permutation(size)[:documents] for _ in range(10)]
    counts = document_counts(len(topics), str(rng.integers(2**63)))
    found = []
    for matrix in matrices:
        clusters = [kmeans(matrix[own], len(np.unique(topics[own]))) for own in rows]
        values = of_clusters([codes(topics[own]) for own in rows], clusters, rows, counts)
        shared = values[:, 1:].mean(axis=0) if pool is not None else np.empty(0)
        found.append(Sample(values[:, 0].mean(), (Part(values[None, :, 0], shared, held=True),)))
    return found


def classification(draw: Callable, documents: int, pool: tuple[np.ndarray, list[np.ndarray]], metric: str,
                   rng: np.random.Generator) -> Study:  # fmt: skip
    """AbsTaskClassification: ten training sets of 8 texts a label from a fixed pool, one set of test texts."""
    labels, matrices = draw(rng, documents)
    chosen = []
    for _ in range(10):
        order = rng.permutation(len(pool[0]))
        chosen.append(np.concatenate([order[pool[0][order] == label][:8] for label in np.unique(pool[0])]))
    found = []
    for known, matrix in zip(pool[1], matrices, strict=True):
        guesses = [LogisticRegression(max_iter=100).fit(known[own], pool[0][own]).predict(matrix) for own in chosen]
        values = [[np.mean(guess == labels) if metric == "accuracy" else macro_f1(labels, guess) for guess in guesses]]
        replicates = of_classes(metric, labels.tolist(), [guess.tolist() for guess in guesses])
        found.append(Sample(float(np.mean(values)), (Part(np.array(values), replicates),)))
    return found


def macro_f1(truth: np.ndarray, guess: np.ndarray) -> float:
    hits, sizes = np.bincount(truth[truth == guess], minlength=200), np.bincount(truth, minlength=200)
    both = sizes + np.bincount(guess, minlength=200)
    return float((2 * hits[both > 0] / both[both > 0]).mean())


def correlation(pairs: int, rng: np.random.Generator) -> Study:
    """AbsTaskSTS: Spearman's correlation of marks and similarities, of which each variant has its own."""
    truth = rng.standard_normal(pairs)
    marks = np.round(np.clip(truth + 0.5 * rng.standard_normal(pairs), -2, 2) * 2)
    shared = truth + 0.6 * rng.standard_normal(pairs)
    found = []
    for noise in NOISE:
        predicted = shared + noise * rng.standard_normal(pairs)
        replicates = of_correlation("cosine_spearman", marks, {"cosine_scores": predicted})
        value = float(stats.spearmanr(marks, predicted)[0])
        found.append(Sample(value, (Part(np.array([[value]]), replicates),)))
    return found


def pair_classes(pairs: int, rng: np.random.Generator) -> Study:
    """AbsTaskPairClassification: average precision."""
    labels = rng.random(pairs) < 0.3
    shared = labels + 0.7 * rng.standard_normal(pairs)
    found = []
    for noise in NOISE:
        predicted = shared + noise * rng.standard_normal(pairs)
        value = float(average_precision_score(labels, predicted))
        replicates = of_pair_classes("cosine_ap", labels.astype(int), {"cosine_scores": predicted})
        found.append(Sample(value, (Part(np.array([[value]]), replicates),)))
    return found


def queries(count: int, documents: int, rng: np.random.Generator) -> Study:
    """AbsTaskRetrieval, reranking too: nDCG@10 of queries, each with 3 of so many documents relevant."""
    hard = rng.gamma(2, 0.6, count)
    discounts = 1 / np.log2(np.arange(2, 12))
    shared = rng.standard_normal((count, documents))
    shared[:, :3] += hard[:, None]
    found = []
    for noise in NOISE:
        scores = shared + noise * rng.standard_normal(shared.shape)
        top = np.argsort(-scores, axis=1)[:, :10] < 3
        values = top @ discounts[: top.shape[1]] / discounts[:3].sum()
        found.append(Sample(float(values.mean()), (Part(np.array([[values.mean()]]), of_queries(values)),)))
    return found


def cases(data: Path | None) -> Iterator[tuple[str, Callable[[np.random.Generator], Study], float | None]]:
    """(name, a study, m / n of a clustering that draws its documents)"""
    sources = {"Gaussian, 20 topics": gaussian(20)}
    sources |= {path.stem: real(path) for path in sorted(data.glob("*.parquet"))} if data else {}
    for name, draw in sources.items():
        for documents in (600, 1000, 2048):
            for drawn in (documents, 16_384):
                study = partial(clustering, draw, documents, drawn)
                yield f"{name}, n = {documents}, m = {drawn}", study, drawn / documents
    draw = sources["Gaussian, 20 topics"]
    yield "two levels, n = m = 1000", partial(clustering, draw, 1000, 1000, levels=2), 1.0
    for seeds in (2, 3, 5):
        yield f"two adapters of {seeds} seeds, n = m = 600", partial(trainings, 600, seeds), None
    yield "legacy, ten sets of 400 texts", partial(sets, draw, 400, None), None
    yield "legacy, ten sets of 400 out of 1000 texts", partial(sets, draw, 400, 1000), None
    pool = draw(np.random.default_rng(5), 4000)
    for metric in ("accuracy", "f1"):
        yield f"classification, {metric}, 600 texts", partial(classification, draw, 600, pool, metric), None
    yield "STS, 600 pairs", partial(correlation, 600), None
    yield "pair classification, 1000 pairs", partial(pair_classes, 1000), None
    yield "retrieval, 300 queries in 2000 documents", partial(queries, 300, 2000), None
    yield "reranking, 300 queries of 20 documents", partial(queries, 300, 20), None


def before(sample: Sample, ratio: float) -> float:
    """Half the width of the interval by the earlier formula."""
    (part,) = sample.parts
    runs = part.experiments.shape[1]
    error = np.sqrt(part.experiments.var(axis=1, ddof=1) * (ratio + 1 / runs)).mean()
    return float(stats.t.ppf(0.975, runs - 1) * error)


def report(name: str, studies: list[Study], ratio: float | None) -> None:
    inside, single, width, rows = [], [], [], {}
    for a, b in PAIRS:
        differences = [study[a] - study[b] for study in studies]
        centre = np.array([one.estimate for one in differences])
        found = [interval({"": one}) for one in differences]
        low, high = np.array([(one.low, one.high) for one in found]).T
        inside += [(low <= centre.mean()) & (centre.mean() <= high)]
        width.append(np.mean([one.error**2 for one in found]) / centre.var(ddof=1))
        old = np.array([before(one, ratio) for one in differences]) if ratio else np.full(len(centre), np.nan)
        rows[abs(centre.mean())] = np.mean((low > 0) | (high < 0)), (high - low) / 2, np.mean(abs(centre) > old), old
    for place in range(3):
        truth = np.mean([study[place].estimate for study in studies])
        single += [one.low <= truth <= one.high for one in (interval({"": study[place]}) for study in studies)]
    power, half, old_power, old_half = rows[max(rows)]
    bracket = f" ({100 * old_half.mean():.2f}) | {power:.2f} ({old_power:.2f})" if ratio else f" | {power:.2f}"
    each = "/".join(f"{one.mean():.3f}" for one in inside)
    print(f"| {name} | {np.mean(inside):.3f} | {each} | {np.mean(single):.3f} | {np.mean(width):.2f} | "
          f"{100 * half.mean():.2f}{bracket} | {len(studies)} |", flush=True)  # fmt: skip


def report_mean(name: str, tasks: list[list[Study]], ratio: float) -> None:
    """The mean over tasks, paired."""
    for a, b in PAIRS:
        joined = [{place: study[a] - study[b] for place, study in enumerate(row)} for row in zip(*tasks, strict=False)]
        found = [interval(one) for one in joined]
        centre, old = np.mean([one.estimate for one in found]), []
        for one in joined:  # three tasks of 9 degrees of freedom each
            errors = np.array([before(sample, ratio) / stats.t.ppf(0.975, 9) for sample in one.values()])
            freedom = 9 * (errors**2).sum() ** 2 / (errors**4).sum()
            old.append(stats.t.ppf(0.975, freedom) * np.sqrt((errors**2).sum()) / len(errors))
        half = np.mean([(one.high - one.low) / 2 for one in found])
        covered = np.mean([one.low <= centre <= one.high for one in found])
        power = np.mean([one.p < 0.05 for one in found])
        was = np.mean([abs(one.estimate) > half for one, half in zip(found, old, strict=True)])
        share = f"{100 * half:.2f} ({100 * np.mean(old):.2f}) | {half / np.mean(old):.2f}"
        print(f"| {name}, variants {a} and {b} | {covered:.3f} | {share} | {power:.2f} ({was:.2f}) |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7, help="of the studies: another one draws other documents")
    parser.add_argument("--only", action="append", help="only cases whose name holds this; may be given several times")
    given = parser.parse_args()
    heads = ("case", "coverage", "of each pair", "of single scores", "width", "half-width", "power", "studies")
    print(f"| {' | '.join(heads)} |\n{'| --- ' * len(heads)}|")
    real_tasks: dict[float, list[list[Study]]] = {}
    for name, study, ratio in cases(given.data):
        if given.only and not any(part in name for part in given.only):
            continue
        started = time.time()
        with threadpool_limits(1):
            studies = [study(np.random.default_rng([given.seed, number])) for number in range(given.studies)]
        report(name, studies, ratio)
        print(f"{name}: {time.time() - started:.0f} s", file=sys.stderr, flush=True)
        if ratio and not name.startswith(("Gaussian", "two")) and "n = 600" in name:
            real_tasks.setdefault(ratio, []).append(studies)
    for ratio, tasks in real_tasks.items():
        if len(tasks) > 1:
            report_mean(f"mean over {len(tasks)} real tasks, n = 600, m = {600 * ratio:.0f}", tasks, ratio)


if __name__ == "__main__":
    main()
