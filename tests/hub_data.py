"""Generated data in the layouts of the hub's own repositories: same files, columns and commits, other texts."""

import gzip
import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path

from fakehub import FakeHub
from tiny_study import sentences

TWENTY_NEWSGROUPS = "6125ec4e24fa026cec8a478383ee943acfbd5449"
ARXIV_P2P = "0bbdb47bcbe3a90093699aefeed338a0f28a7ee8"
BANKING77 = "0fd18e25b25c072e09e0d92ab615fda904d66300"
STS_BENCHMARK = "b0fddb56ed78048fa8b90373c8a3cfc37b684831"
# MTEB's name of a task -> the repository and commit that it pins.
TASKS = {
    "TwentyNewsgroupsClustering": ("mteb/twentynewsgroups-clustering", TWENTY_NEWSGROUPS),
    "TwentyNewsgroupsClustering.v2": ("mteb/twentynewsgroups-clustering", TWENTY_NEWSGROUPS),
    "ArXivHierarchicalClusteringP2P": ("mteb/arxiv-clustering-p2p", ARXIV_P2P),
    "Banking77Classification": ("mteb/banking77", BANKING77),
    "STSBenchmark": ("mteb/stsbenchmark-sts", STS_BENCHMARK),
}
ATTRIBUTES = b"*.jsonl.gz filter=lfs diff=lfs merge=lfs -text\n"
CARD = b"---\nlanguage:\n- en\n---"
CATEGORIES = {"cooking": "cs.CL", "sailing": "math.AG", "music": "hep-th"}  # the last has no second level


def jsonl(rows: Iterable[Mapping], packed: bool = False) -> bytes:
    body = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return gzip.compress(body, mtime=0) if packed else body


def publish_data_sets(hub: FakeHub) -> None:
    """The data sets of TASKS, each at the commit that MTEB pins; a newer `main` with nothing in it beside them."""
    files = {
        "mteb/twentynewsgroups-clustering": twenty_newsgroups(),
        "mteb/arxiv-clustering-p2p": arxiv(),
        "mteb/banking77": banking77(),
        "mteb/stsbenchmark-sts": sts_benchmark(),
    }
    for repo, commit in dict(TASKS.values()).items():
        hub.commit("dataset", repo, {".gitattributes": ATTRIBUTES, **files[repo]}, commit=commit)
        hub.commit("dataset", repo, {".gitattributes": ATTRIBUTES})


def twenty_newsgroups() -> dict[str, bytes]:
    """Ten rows, each a set of subject lines and their groups."""
    sets = [sentences(seed, 12) for seed in range(50, 60)]
    return {"test.jsonl": jsonl({"sentences": [*t["text"]], "labels": [*t["label"]]} for t in sets)}


def arxiv() -> dict[str, bytes]:
    """Sets of title and abstract with their main category, `archive.subject`; the task draws 2,048 of them."""
    sets = [sentences(seed, 400) for seed in (20, 21)]
    rows = ({"sentences": [*t["text"]], "labels": [CATEGORIES[label] for label in t["label"]]} for t in sets)
    return {"README.md": CARD, "test.jsonl.gz": jsonl(rows, packed=True)}


def banking77() -> dict[str, bytes]:
    def rows(seed: int, a_topic: int) -> list[dict]:
        table, topics = sentences(seed, a_topic), list(CATEGORIES)
        return [{"text": r.text, "label": topics.index(r.label), "label_text": r.label} for r in table.itertuples()]

    script = b"# how the files were made; nothing runs it\n"
    return {"prepare_data.py": script, "train.jsonl": jsonl(rows(30, 12)), "test.jsonl": jsonl(rows(31, 10))}


def sts_benchmark() -> dict[str, bytes]:
    draw = random.Random(40)

    def rows(seed: int, split: str) -> list[dict]:
        table = sentences(seed, 12).sample(frac=1, random_state=seed).reset_index(drop=True)
        pairs = zip(table.iloc[0::2].itertuples(), table.iloc[1::2].itertuples(), strict=False)
        facts = {"split": split, "genre": "main-captions", "dataset": "MSRvid", "year": "2012test"}
        return [
            {**facts, "sid": f"{n:04d}", "score": (a.label == b.label) * 3 + draw.randint(0, 20) / 10,
             "sentence1": a.text, "sentence2": b.text}
            for n, (a, b) in enumerate(pairs)
        ]  # fmt: skip

    splits = {"train": 41, "validation": 42, "test": 43}
    return {f"{name}.jsonl.gz": jsonl(rows(seed, name), packed=True) for name, seed in splits.items()}


def publish_corpus(hub: FakeHub, repo: str = "owner/lines") -> str:
    """A plain text file, a text a line, beside other files; returns the commit of `main`."""
    lines = "\n".join(sentences(2, 30)["text"]) + "\n"
    return hub.commit("dataset", repo, {"README.md": CARD, "lines.txt": lines.encode(), "nli.csv": b"a,b\n1,2\n"})


def publish_model(hub: FakeHub, folder: Path, repo: str = "owner/small") -> str:
    """A model that save_pretrained wrote, with the clutter of real repositories; returns the commit of `main`."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return hub.commit("model", repo, {**files, "pytorch_model.bin": b"old", "original/consolidated.00.pth": b"old"})
