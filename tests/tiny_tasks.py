"""Unmodified MTEB tasks of every type, over data of the true layout that a test makes up, and an ordinary encoder."""

import random
from collections.abc import Callable, Sequence

import numpy as np
from promptpool.tasks.encoders import LookupEncoder  # sets MTEB_CACHE before mteb is imported

# isort: split
import mteb
from datasets import Dataset, DatasetDict
from tiny_study import WORDS

TOPICS = list(WORDS)


def sentence(draw: random.Random, topic: str) -> str:
    words = draw.choices(WORDS[topic].split(), k=draw.randint(2, 4)) + draw.choices(["the", "a", "of", "and"], k=4)
    return f"{' '.join(words)} {draw.randint(0, 999)}"


def labelled(seed: int, count: int) -> tuple[list[str], list[int]]:
    draw = random.Random(seed)
    labels = [draw.randrange(3) for _ in range(count)]
    return [sentence(draw, TOPICS[label]) for label in labels], labels


def clustering() -> DatasetDict:
    texts, labels = labelled(1, 400)
    return DatasetDict({"test": Dataset.from_dict({"sentences": texts, "labels": labels})})


def hierarchy() -> DatasetDict:
    texts, labels = labelled(2, 150)
    levels = [[TOPICS[label], f"{TOPICS[label]}-{row % 2}"] for row, label in enumerate(labels)]
    return DatasetDict({"test": Dataset.from_dict({"sentences": texts, "labels": levels})})


def legacy() -> DatasetDict:
    sets = [labelled(seed, 60) for seed in range(4)]
    return DatasetDict({"test": Dataset.from_dict({"sentences": [s[0] for s in sets], "labels": [s[1] for s in sets]})})


def classification() -> DatasetDict:
    parts = {split: labelled(seed, count) for seed, (split, count) in enumerate((("train", 90), ("test", 120)), 5)}
    return DatasetDict({s: Dataset.from_dict({"text": texts, "label": labels}) for s, (texts, labels) in parts.items()})


def sts() -> DatasetDict:
    (one, a), (two, b) = labelled(7, 80), labelled(8, 80)
    scores = [5.0 * (x == y) + 0.01 * row for row, (x, y) in enumerate(zip(a, b, strict=True))]
    return DatasetDict({"test": Dataset.from_dict({"sentence1": one, "sentence2": two, "score": scores})})


def pair_classes() -> DatasetDict:
    (one, a), (two, b) = labelled(9, 80), labelled(10, 80)
    same = [int(x == y) for x, y in zip(a, b, strict=True)]
    return DatasetDict({"test": Dataset.from_dict({"sentence1": [one], "sentence2": [two], "labels": [same]})})


def retrieval(ranked: bool = False) -> dict:
    (queries, wanted), (bodies, kinds) = labelled(11, 12), labelled(12, 60)
    ids = [f"d{row}" for row in range(len(bodies))]
    corpus = Dataset.from_dict({"id": ids, "title": [body.split()[0] for body in bodies], "text": bodies})
    asked = Dataset.from_dict({"id": [f"q{row}" for row in range(len(queries))], "text": queries})
    relevant = {
        f"q{row}": {d: int(kind == topic) for d, kind in list(zip(ids, kinds, strict=True))[row::3]}
        for row, topic in enumerate(wanted)
    }
    top = {query: list(documents) for query, documents in relevant.items()} if ranked else None
    return {"default": {"test": {"corpus": corpus, "queries": asked, "relevant_docs": relevant, "top_ranked": top}}}


DATA: dict[str, Callable] = {
    "TwentyNewsgroupsClustering.v2": clustering,
    "ArXivHierarchicalClusteringP2P": hierarchy,
    "TwentyNewsgroupsClustering": legacy,
    "Banking77Classification": classification,
    "STSBenchmark": sts,
    "SprintDuplicateQuestions": pair_classes,
    "AskUbuntuDupQuestions": lambda: retrieval(ranked=True),
    "NFCorpus": retrieval,
}


def tiny_data(monkeypatch, name: str) -> None:
    """Gives MTEB's task of that name made-up data: nothing but the download is replaced."""

    def load_data(self, num_proc=None, **_):
        if not self.data_loaded:
            self.dataset = DATA[name]()
            if name.startswith("TwentyNewsgroupsClustering.v2"):
                self.max_fraction_of_documents_to_embed = 0.5
                self.max_documents_per_cluster = 400
            if name.startswith("ArXiv"):
                self.max_documents_per_cluster = 150
                self.max_document_to_embed, self.max_fraction_of_documents_to_embed = None, None
            self.data_loaded = True

    monkeypatch.setattr(type(mteb.get_task(name)), "load_data", load_data)


def bag_of_words(dim: int = 16, seed: int = 0) -> Callable[[list[str]], np.ndarray]:
    """Texts -> float32 [n, dim]: the mean of a random vector a word."""
    table: dict[str, np.ndarray] = {}

    def vector(word: str) -> np.ndarray:
        if word not in table:
            table[word] = np.random.default_rng([seed, *word.encode()]).standard_normal(dim)
        return table[word]

    return lambda texts: np.array([np.mean([vector(w) for w in text.split()], axis=0) for text in texts], np.float32)


def lookup(texts: Sequence[str], matrix: np.ndarray, name: str = "mine") -> LookupEncoder:
    """The encoder of one matrix whose rows stand in the order of `texts`."""
    return LookupEncoder({text: row for row, text in enumerate(texts)}, matrix, name)
