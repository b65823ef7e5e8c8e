"""Users' files: rows of awkward texts in every format and dialect, whole and spoiled, and whether they came out right.

Used by harness.py. What is spoiled changes what a row says, so that only an error that names it is right.
"""

import csv
import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from promptpool.artifacts.files import sidecar_path

AWKWARD = [
    *("1.1", "1.10", "007", "7", "1e5", "100000", "9007199254740993", "9007199254740992", "None", "NA", "nan", "null"),
    *(
        "true",
        "True",
        "2020-01-01",
        "0x10",
        "-0",
        "1_000",
        "=1+1",
        "#",
        "~",
        "the oven, warm",
        'he said "no"',
        '"To be',
    ),
    *("a\tb", "a\nb", "a\rb", " x", "x ", "\u2028", "a\u2028b", "a\x85b", "\ufeffa", "a\x00b", "日本語", "\U0001f680"),
    *("", "  ", "\\", "\\n", "'", ";", "|", "[1]", '{"a": 1}', "a,b,c", '""', '","'),
]
Row = dict[str, str]
DIALECTS: dict[str, list[dict]] = {
    ".csv": [{}, {"quoting": csv.QUOTE_ALL}, {"lineterminator": "\n"}],
    ".tsv": [{"quoting": csv.QUOTE_ALL}],
    ".jsonl": [{}, {"ensure_ascii": False}],
    ".parquet": [{}],
}


def rows(draw: random.Random) -> list[Row]:
    """Some rows of `text` and `label`, two different labels at least."""
    made = [{"text": draw.choice(AWKWARD) + draw.choice(AWKWARD), "label": draw.choice(AWKWARD)} for _ in range(12)]
    return [{"text": "first", "label": "1.1"}, {"text": "second", "label": "1.10"}, *made]


def write(folder: Path, table: list[Row], draw: random.Random) -> Path:
    """The rows in one of the formats, in one of its dialects; with a byte order mark or packed now and then."""
    kind = draw.choice(list(DIALECTS))
    how, path = draw.choice(DIALECTS[kind]), folder / f"mine{kind}"
    if kind == ".parquet":
        pq.write_table(pa.Table.from_pylist(table), path)
        return path
    if kind == ".jsonl":
        path.write_text("".join(json.dumps(row, **how) + "\n" for row in table), encoding="utf-8", newline="")
    else:
        with open(path, "w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, ["text", "label"], delimiter="," if kind == ".csv" else "\t", **how)
            writer.writeheader()
            writer.writerows(table)
    if draw.random() < 0.3:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    if draw.random() < 0.3:
        packed = folder / f"{path.name}.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        return packed
    return path


SPOILED: dict[str, tuple[str, Callable[[list[str]], list[str]] | bytes, str]] = {
    # fault -> (file, its whole lines -> spoiled lines, what the error has to name)
    "comma without quotes": ("mine.csv", lambda lines: [*lines, "the oven, warm,x"], "line 5"),
    "trailing comma": ("mine.csv", lambda lines: [*lines[:2], lines[2] + ",", *lines[3:]], "line 3"),
    "too few fields": ("mine.csv", lambda lines: [*lines, "alone"], "line 5"),
    "four names": ("mine.csv", lambda lines: ["text,label,c,d", *lines[1:]], "line 2"),
    "names that repeat": (
        "mine.csv",
        lambda lines: ["text,label,text", *(f"{x},z" for x in lines[1:])],
        "'text'",
    ),
    "open quote": ("mine.csv", lambda lines: [*lines[:3], '"' + lines[3]], "line 4"),
    "another separator": ("mine.csv", lambda lines: [line.replace(",", ";") for line in lines], "';'"),
    "tab in a text": ("mine.tsv", lambda lines: [*lines, "a\tb\tx"], "line 5"),
    "list as a label": ("mine.jsonl", lambda lines: [*lines, '{"text": "a", "label": ["x"]}'], "line 4"),
    "chat as a text": ("mine.jsonl", lambda lines: [*lines, '{"text": [{"role": "user"}], "label": "x"}'], "line 4"),
    "NaN": ("mine.jsonl", lambda lines: [*lines, '{"text": "a", "label": NaN}'], "line 4"),
    "half a character": ("mine.jsonl", lambda lines: [*lines, '{"text": "\\ud800", "label": "x"}'], "line 4"),
    "key twice": ("mine.jsonl", lambda lines: [*lines, '{"text": "a", "text": "b", "label": "x"}'], "line 4"),
    "cut off": ("mine.jsonl", lambda lines: [*lines, '{"text": "a", "la'], "line 4"),
    "Latin-1": ("mine.csv", "text,label\na,x\nnaïve,y\n".encode("latin-1"), "line 3"),
    "UTF-16": ("mine.csv", "text,label\na,x\nb,y\n".encode("utf-16"), "line 1"),
    "packed and cut off": ("mine.csv.gz", gzip.compress(b"text,label\na,x\nb,y\n" * 50)[:-12], "mine.csv.gz"),
}


def spoil(rule: str, folder: Path, draw: random.Random) -> tuple[str, Path, str]:
    """(fault, file, what the error has to name) of a plain file with one row that does not fit the rule's job.

    A corpus reads no labels, so that a list there is no fault of its.
    """
    fault = draw.choice([name for name in SPOILED if rule == "build_task" or name != "list as a label"])
    name, how, wanted = SPOILED[fault]
    path = folder / name
    if isinstance(how, bytes):
        path.write_bytes(how)
        return fault, path, wanted
    plain = [{"text": text, "label": label} for text, label in (("a", "x"), ("b", "y"), ("c", "x"))]
    if path.suffix == ".jsonl":
        lines = [json.dumps(row) for row in plain]
    else:
        between = "\t" if path.suffix == ".tsv" else ","
        lines = [between.join(row) for row in (["text", "label"], *(row.values() for row in plain))]
    path.write_text("\n".join(how(lines)) + "\n", encoding="utf-8")
    return fault, path, wanted


def came_out(rule: str, tree: Path, outputs: list[str], table: list[Row]) -> str | None:
    """What is wrong with the outputs of a job that read `table`; None where they hold it as it was written."""
    whole = [row for row in table if row["text"].strip() and (rule == "build_corpus" or row["label"].strip())]
    texts = list(dict.fromkeys(row["text"] for row in whole))
    (main,) = [name for name in outputs if rule == "build_corpus" or name.endswith("labelled.parquet")]
    found = pd.read_parquet(tree / main)
    if rule == "build_corpus":
        wrong = found["text"].tolist() != texts
    else:
        asked = next(name for name in outputs if name.endswith("texts.parquet"))
        wrong = found[["text", "label"]].to_dict("records") != whole
        wrong = wrong or sorted(pd.read_parquet(tree / asked)["text"]) != sorted(texts)
    if wrong:
        return f"{main}: other texts or labels than those that were written"
    facts = json.loads(sidecar_path(tree / main).read_text())
    if (facts.get("rows_read"), facts.get("rows")) != (len(table), len(found)):
        return f"{main}: its sidecar counts {facts.get('rows_read')} rows of {len(table)}, {facts.get('rows')} kept"
    return None
