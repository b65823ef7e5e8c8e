"""A hub corpus is read as text, too: `datasets` guesses types, and its own readers are not used for csv and json."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants
from promptpool.data.tables import read_texts
from promptpool.errors import PromptpoolError

TEXTS = ["1.10", "1.1", "NA", "null", "007", "2020-01-01", "9007199254740993", " True"]
COMMIT = "c" * 40
ROWS = [{"text": text, "positive": f"{number}.0"} for number, text in enumerate(TEXTS)]
CSV = "text,positive\n" + "".join(f"{row['text']},{row['positive']}\n" for row in ROWS)
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Puts files into the hub's cache as a fetch would have, and returns the corpus's spec."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")

    def published(files: dict[str, bytes], **spec: object) -> dict:
        pin = {"repo": "owner/lines", "repo_type": "dataset", "asked": "main", "commit": COMMIT}
        pin["files"] = {name: len(body) for name, body in files.items()}
        folder = tmp_path / "cache/datasets--owner--lines/snapshots" / COMMIT
        for name, body in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(body)
        marker = tmp_path / "results/run/hub/lines.json"
        marker.parent.mkdir(parents=True)
        marker.write_text(json.dumps(pin))
        (tmp_path / "results/hub.lock.json").write_text(json.dumps({"hub/lines": pin}))
        own = {"source": "hub", "path": "owner/lines", "file": None, "split": "train", "column": "text"}
        return {**own, "positive": "positive", "snapshot": [str(marker)], **spec}

    return published


def parquet(path: Path) -> bytes:
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("train.csv", CSV.encode()),
        ("train.tsv", CSV.replace(",", "\t").encode()),
        ("train.jsonl", JSONL.encode()),
        ("train.jsonl.gz", gzip.compress(JSONL.encode())),
        ("train.csv.gz", gzip.compress(CSV.encode())),
        ("train.json", json.dumps(ROWS).encode()),
        ("train.json", JSONL.encode()),
        ("train.parquet", parquet),
    ],
    ids=["csv", "tsv", "jsonl", "jsonl.gz", "csv.gz", "json list", "json lines", "parquet"],
)
@pytest.mark.parametrize("file", [True, False], ids=["named", "found"])
def test_texts_of_the_hub_are_read_as_they_stand(tmp_path, publish, name, body, file):
    body = body(tmp_path / "made.parquet") if callable(body) else body
    found = read_texts(publish({name: body}, file=name if file else None), "corpora.lines")
    assert found["text"].tolist() == TEXTS and found["positive"].tolist() == [row["positive"] for row in ROWS]


def test_the_split_s_files_alone_are_read_one_after_another(publish):
    half = len(ROWS) // 2
    lines = JSONL.splitlines(keepends=True)
    files = {
        "data/train-1.jsonl": "".join(lines[:half]).encode(),
        "data/train-2.jsonl": "".join(lines[half:]).encode(),
        "data/test.jsonl": b'{"text": "of the test", "positive": "x"}\n',
    }
    spec = publish(files)
    assert read_texts(spec, "corpora.lines")["text"].tolist() == TEXTS
    assert read_texts(spec | {"split": "test"}, "corpora.lines")["text"].tolist() == ["of the test"]


@pytest.mark.parametrize(
    ("name", "body", "spec", "reason"),
    [
        ("train.csv", b"text,positive\na,b,c\n", {}, "train.csv: cannot be read: line 2: 3 fields"),
        ("train.csv", b"text,other\na,b\n", {}, "train.csv: no column 'positive'; it has 'text', 'other'"),
        ("train.jsonl", b'{"text": "a", "positive": ["b"]}\n', {}, "line 1: 'positive' is a list"),
        ("train.jsonl.gz", gzip.compress(JSONL.encode())[:-9], {}, "train.jsonl.gz: cannot be read"),
        ("train.jsonl", JSONL.encode(), {"split": "tests"}, "no split 'tests'; it has train"),
        ("train.parquet", parquet, {"column": "body"}, "no column 'body'; it has 'text', 'positive'"),
    ],
    ids=["fields", "column", "list", "packed", "split", "parquet column"],
)
def test_what_does_not_fit_is_named_by_file_and_line(tmp_path, publish, name, body, spec, reason):
    body = body(tmp_path / "made.parquet") if callable(body) else body
    with pytest.raises(PromptpoolError) as caught:
        read_texts(publish({name: body}, **spec), "corpora.lines")
    told = str(caught.value)
    assert told.startswith(f"corpora.lines: owner/lines@{COMMIT}: ") and "\n" not in told and reason in told


def test_lines_of_a_text_file_are_texts(publish):
    spec = publish({"lines.txt": "".join(f"{text}\n" for text in TEXTS).encode()}, file="lines.txt", positive=None)
    assert read_texts(spec, "corpora.lines")["text"].tolist() == TEXTS
