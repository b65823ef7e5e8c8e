"""Four planted groups are found, named and shown, whatever their sizes; noise has none that is stable."""

import json
import random
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import psutil
import pytest
from promptpool.clusters.__main__ import main
from promptpool.clusters.find_clusters import MOST_AXES, Clusters, find_clusters, principal
from promptpool.clusters.names import names_of, top_words
from promptpool.clusters.page import colours, write_page
from promptpool.clusters.stability import MODERATE, Stability, stability
from promptpool.clusters.stored_vectors import read_matrix, vectors_of
from promptpool.errors import PromptpoolError
from safetensors.numpy import save_file
from sklearn.metrics import adjusted_rand_score
from tiny_study import WORDS

GROUPS = {**WORDS, "garden": "soil seed compost prune hedge rake tulip bulb mulch trowel weed bloom"}
SIZES = (160, 120, 80, 40)


def planted(
    sizes: tuple[int, ...] = SIZES, dim: int = 64, spread: float = 0.35
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(texts, their vectors, their groups): sentences of each group's own words, vectors around its own direction."""
    rng, draw = np.random.default_rng(1), random.Random(1)
    centres = rng.standard_normal((len(sizes), dim))
    texts, groups = [], np.repeat(np.arange(len(sizes)), sizes)
    for group in groups:
        words = list(GROUPS.values())[group].split()
        texts.append(f"The {' '.join(draw.choices(words, k=6))} of the {draw.randint(1, 999)} days")
    vectors = centres[groups] + spread * np.sqrt(dim) * rng.standard_normal((len(groups), dim)) / 2
    return texts, vectors.astype(np.float32), groups


@pytest.fixture(scope="module")
def found() -> tuple[Clusters, list[str], np.ndarray]:
    texts, vectors, groups = planted()
    return find_clusters(texts, vectors), texts, groups


def test_planted_groups_are_found_the_largest_first(found):
    clusters, _, groups = found
    assert clusters.stability.best() == 4 and clusters.sizes == list(SIZES)
    assert adjusted_rand_score(groups, clusters.labels) == 1
    assert clusters.stability.of(4) > 0.99 > clusters.stability.of(7)


def test_names_and_examples_are_the_groups_own(found):
    clusters, *_ = found
    said = zip(GROUPS.values(), clusters.names, clusters.words, clusters.examples, strict=True)
    for words, name, own, examples in said:
        assert set(own) <= set(words.split()) and name == ", ".join(own[:3])
        assert len(examples) == 5 and all(set(text.split()) & set(words.split()) for text in examples)


def test_the_map_shows_groups_apart(found):
    clusters, *_ = found
    place, labels = clusters.place, clusters.labels[clusters.mapped]
    far = np.linalg.norm(place[:, None] - place[None], axis=2)
    np.fill_diagonal(far, np.inf)
    assert (labels[far.argmin(axis=1)] == labels).mean() > 0.95 and np.abs(place).max() == pytest.approx(1)


def test_noise_has_no_stable_number_of_clusters():
    rng = np.random.default_rng(2)
    curve = stability(rng.standard_normal((400, 30)), range(2, 8))
    assert max(curve.mean) < MODERATE


def test_the_largest_peak_that_is_good_is_taken():
    """Two halves are nearly always stable, so 2 is the last choice; a dip does not hide the peak behind it."""

    def best(*mean: float) -> int:
        return Stability(tuple(range(2, 2 + len(mean))), mean, (0.01,) * len(mean)).best()

    assert best(0.99, 0.8, 0.81, 0.95, 0.85, 0.7) == 5
    assert best(0.99, 0.96, 0.86, 0.7, 0.75, 0.7) == 3
    assert best(0.99, 0.75, 0.76, 0.7, 0.5, 0.4) == 2
    assert best(0.5, 0.4, 0.6, 0.3, 0.2, 0.1) == 4


@pytest.mark.parametrize("sizes", [(100, 100), (150, 50)])
def test_two_planted_groups_are_two(sizes):
    _, vectors, _ = planted(sizes)
    assert stability(principal(vectors, 0), range(2, 6)).best() == 2


def test_a_given_number_is_taken():
    texts, vectors, _ = planted()
    clusters = find_clusters(texts, vectors, k=3)
    assert len(clusters.sizes) == 3 and clusters.stability is None


@contextmanager
def memory_taken() -> Iterator[Callable[[], int]]:
    """Gives the bytes that this process had at most beyond those at the start, looked at a hundred times a second.

    To follow every allocation, as `tracemalloc` does, takes three times as long.
    """
    process, ended = psutil.Process(), threading.Event()
    found = [process.memory_info().rss]

    def look() -> None:
        while not ended.wait(0.01):
            found.append(process.memory_info().rss)

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield lambda: max(found) - found[0]
    finally:
        ended.set()
        watch.join()


def test_fifty_thousand_texts_take_bounded_time_and_memory():
    """Beyond the vectors (51 MB), less than 300 MB: no matrix of all by all, which would be 10 GB."""
    texts, vectors, groups = planted((20_000, 15_000, 10_000, 5_000), dim=256)
    with memory_taken() as taken:
        clusters = find_clusters(texts, vectors, most=5)
    assert 10e6 < taken() < 300e6
    assert adjusted_rand_score(groups, clusters.labels) > 0.99 and len(clusters.mapped) == len(clusters.place) == 1500


# --- names -------------------------------------------------------------------------------------------


def test_weights_of_words_are_their_formula():
    """Class-based TF-IDF, by hand, of two clusters of two and one words a text."""
    texts = ["bread oven", "bread dough", "sail mast bread"] * 3
    labels = np.array([0, 0, 1] * 3)
    share = {
        "bread": (6 / 12, 3 / 9),
        "oven": (3 / 12, 0),
        "dough": (3 / 12, 0),
        "sail": (0, 3 / 9),
        "mast": (0, 3 / 9),
    }
    often = {"bread": 9, "oven": 3, "dough": 3, "sail": 3, "mast": 3}
    for number, own in enumerate(top_words(texts, labels)):
        weights = {word: share[word][number] * np.log1p(10.5 / often[word]) for word in share}
        assert [round(weights[word], 9) for word in own] == sorted(
            (round(value, 9) for value in weights.values() if value), reverse=True
        )


def test_names_leave_out_stop_words_numbers_and_rare_words():
    texts = ["the 42 of a bread x"] * 5 + ["the once-only bread"] + ["面 包 42"] * 5
    first, second = top_words(texts, np.array([0] * 6 + [1] * 5))
    assert first == ["bread"] and set(second) == {"面", "包"}
    assert names_of([["a", "b", "c", "d"], [], ["a", "b", "c"]]) == ["a, b, c", "cluster 2", "a, b, c (3)"]
    assert top_words(["the of", "!"], np.array([0, 1])) == [[], []]


# --- the page and the command ------------------------------------------------------------------------


def test_the_page_is_one_file_with_everything(found, tmp_path):
    clusters, texts, _ = found
    attack = "</script><img src=x onerror=alert(1)>"
    write_page(tmp_path / "page.html", clusters, [attack, *texts[1:]], title="my <texts>", source="out")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page) and "<img src=x" not in page
    assert page.count("<circle") == 1 + sum(SIZES) and page.count('class="cluster"') == 4
    points = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert points[0]["text"] == attack and {point["in"] for point in points} == {0, 1, 2, 3}
    assert page.count('class="taken"') == 1 and "no clear groups" not in page
    assert all(name in page for name in clusters.names)


def test_colours_differ():
    assert len(set(colours(15))) == 15 and all(re.fullmatch("#[0-9a-fA-F]{6}", one) for one in colours(15))


def test_the_command_writes_a_page_and_a_table(tmp_path, capsys):
    texts, vectors, _ = planted((30, 20, 20, 20))
    rows = pd.DataFrame({"body": [texts[0], None, *texts[1:]]})
    rows.to_csv(tmp_path / "texts.csv", index=False)
    np.save(tmp_path / "vectors.npy", vectors)
    given = [str(tmp_path / "vectors.npy"), str(tmp_path / "texts.csv"), "--column", "body", "--most", "6"]
    assert main([*given, "--out", str(tmp_path / "page.html")]) == 0
    assert "4 clusters of 90 texts" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "page.csv")
    assert list(table.columns) == ["text", "cluster", "name"] and table["text"].tolist() == texts
    assert main([str(tmp_path / "nothing"), *given[1:]]) == 1
    assert "neither an exported model's directory nor vectors" in capsys.readouterr().err


def test_faults_are_named(tmp_path):
    texts, vectors, _ = planted((20, 10, 10, 10))
    with pytest.raises(PromptpoolError, match="19 texts have no clusters"):
        find_clusters(texts[:19], vectors[:19])
    with pytest.raises(PromptpoolError, match="give a row a text"):
        find_clusters(texts, vectors[:49])
    with pytest.raises(PromptpoolError, match="not finite"):
        find_clusters(texts, np.full_like(vectors, np.nan))
    with pytest.raises(PromptpoolError, match="no number of clusters"):
        find_clusters(texts, vectors, k=1)
    np.save(tmp_path / "short.npy", vectors[:3])
    with pytest.raises(PromptpoolError, match="3 vectors for 50 texts"):
        vectors_of(str(tmp_path / "short.npy"), texts)
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(PromptpoolError, match="cannot be read as a matrix"):
        read_matrix(tmp_path / "objects.npy")
    save_file({"a": vectors, "b": vectors}, tmp_path / "two.safetensors")
    with pytest.raises(PromptpoolError, match="holds 2 matrices: a, b"):
        read_matrix(tmp_path / "two.safetensors")
    (tmp_path / "folder").mkdir()
    with pytest.raises(PromptpoolError, match="no sentence-transformers model"):
        vectors_of(str(tmp_path / "folder"), texts)


def test_few_dimensions_are_enough():
    texts, vectors, groups = planted(dim=3, spread=0.05)
    assert vectors.shape[1] < MOST_AXES
    assert adjusted_rand_score(groups, find_clusters(texts, vectors, k=4).labels) > 0.9
