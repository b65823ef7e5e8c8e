"""A cell is text, exactly as it stands in the file: no reader guesses a type, in any format."""

import csv
import gzip
import json
import os
import random
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from promptpool.data.tables import read_labelled, read_table
from promptpool.errors import PromptpoolError

CODES = [
    ["1.1", "1.10", "1.2"],
    ["01001", "1001"],
    ["007.10", "007.1"],
    ["1e5", "100000"],
    ["None", "NA", "nan", "null"],
    ["True", "true", "1"],
    ["9007199254740993", "9007199254740992"],
    [" x", "x"],
    ["2020-01-01", "2020-1-1"],
]
PIECES = [
    *'abc,;\t"\'\\|#\n\r \u2028\x85\xa0\ufeffé日🚀0123456789.-+eE',
    '""', "\r\n", "NA", "null", "1.10", "007", "nan", "=1+1", "True", "\x00", "\x1a",
]  # fmt: skip

TABLES = int(os.environ.get("PROMPTPOOL_TABLES", "1000"))  # `make test-faults` asks for 10,000


def write(path, rows: list[dict], **how: object):
    names = list(rows[0])
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, **how) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in names}), path)
    else:
        with open(path, "w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, names, delimiter="," if path.suffix == ".csv" else "\t", **how)
            writer.writeheader()
            writer.writerows(rows)
    return path


def labels(path) -> list[str]:
    return read_labelled(path, "text", "label", "tasks.mine")["label"].tolist()


def refusal(path, columns: tuple[str, ...] = ("text", "label")) -> str:
    with pytest.raises(PromptpoolError) as caught:
        read_table(path, list(columns), "tasks.mine")
    told = str(caught.value)
    assert told.startswith(f"tasks.mine: {path}: ") and "\n" not in told
    return told


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("codes", CODES, ids=" ".join)
def test_labels_that_look_like_values_stay_apart(tmp_path, suffix, codes):
    rows = [{"text": f"text {number}", "label": code} for number, code in enumerate(codes * 3)]
    assert labels(write(tmp_path / f"mine{suffix}", rows)) == codes * 3


def test_numbers_of_jsonl_keep_their_digits(tmp_path):
    path = tmp_path / "mine.jsonl"
    values = ["1.10", "1.1", "9007199254740993", "9007199254740992", "1e5", "true", "-0", "1E+05"]
    path.write_text("".join(f'{{"text": "t", "label": {value}}}\n' for value in values))
    assert labels(path) == values


def test_whole_numbers_of_parquet_stay_exact_beside_a_row_without_one(tmp_path):
    numbers = [9007199254740993, None, 9007199254740992]
    pq.write_table(pa.table({"text": ["a", "b", "c"], "label": pa.array(numbers)}), tmp_path / "mine.parquet")
    assert labels(tmp_path / "mine.parquet") == ["9007199254740993", "9007199254740992"]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (pa.array([Decimal("1.10"), Decimal("1.20")]), ["1.10", "1.20"]),
        (pa.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
        (pa.array(["x", "y"], pa.large_string()), ["x", "y"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array([1.5, 2.0]), ["1.5", "2.0"]),
        (pa.array([1.1, 0.1], pa.float32()), ["1.1", "0.1"]),
        (pa.array(np.array([1.5, 0.1], np.float16)), ["1.5", "0.1"]),
        (pa.array([Decimal("0.0000001"), Decimal("1.0000000")]), ["0.0000001", "1.0000000"]),
        (pa.array([2**64 - 1, 2**63], pa.uint64()), ["18446744073709551615", "9223372036854775808"]),
        (pa.array([date(2020, 1, 1), date(2020, 1, 2)]), ["2020-01-01", "2020-01-02"]),
        (pa.array([7, 70]).dictionary_encode(), ["7", "70"]),
    ],
)
def test_other_types_of_parquet_have_one_text(tmp_path, values, wanted):
    pq.write_table(pa.table({"text": ["a", "b"], "label": values}), tmp_path / "mine.parquet")
    assert labels(tmp_path / "mine.parquet") == wanted


@pytest.mark.parametrize("late", ["late", ""])
def test_one_late_or_empty_label_changes_no_other(tmp_path, late):
    filler = dict.fromkeys((f"c{number}" for number in range(18)), "1.0")
    codes = ["007", "7", "1", "1.0"] * 9000
    rows = [{"text": f"t{number}", "label": code, **filler} for number, code in enumerate([*codes, late])]
    assert labels(write(tmp_path / "mine.csv", rows))[: len(codes)] == codes


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("mine.csv", "text,label\nthe oven, warm,x\n", "line 2"),
        ("mine.csv", "text,label\na,x\nb,y,\n", "line 3"),
        ("mine.csv", "text,label,c,d\na,x\n", "line 2"),
        ("mine.csv", "text,label,\na,x\n", "line 2"),
        ("mine.csv", 'text,label\n"a",x\n"b"c,y\n', "line 3"),
        ("mine.tsv", "text\tlabel\na\tx\nb\ty\tz\n", "line 3"),
        ("mine.jsonl", '{"text": "a", "label": "x"}\n{"text": "a", "label": ["x"]}\n', "line 2"),
        ("mine.jsonl", '{"text": {"a": 1}, "label": "x"}\n', "line 1"),
        ("mine.jsonl", '{"text": "a", "label": "x"}\n["a", "x"]\n', "line 2"),
        ("mine.jsonl", '{"text": "a", "text": "b", "label": "x"}\n', "line 1"),
        ("mine.jsonl", '{"text": "\\ud800", "label": "x"}\n', "line 1"),
        ("mine.jsonl", '{"text": "a", "label": "x"}\n{"text": "a", "label": NaN}\n', "line 2"),
        ("mine.jsonl", '{"text": "a", "label": -Infinity}\n', "line 1"),
    ],
)
def test_a_row_that_does_not_fit_is_named_by_its_line(tmp_path, name, content, line):
    (tmp_path / name).write_text(content)
    assert line in refusal(tmp_path / name)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_two_columns_of_one_name_are_refused(tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table([["a"], ["b"], ["x"]], names=["text", "text", "label"]), path)
    else:
        path.write_text("text,text,label\na,b,x\n".replace(",", "," if suffix == ".csv" else "\t"))
    assert "two columns are called 'text'; rename one" in refusal(path)


def test_bytes_that_are_no_utf8_are_named_by_their_line(tmp_path):
    (tmp_path / "mine.csv").write_bytes("text,label\nok,x\nnaïve,y\n".encode("latin-1"))
    assert "line 3 is not UTF-8" in refusal(tmp_path / "mine.csv")


def test_tab_separated_texts_may_begin_with_a_quote(tmp_path):
    texts = ['"To be', 'or not" to be', '"quoted"', 'he said "no"'] * 6
    content = "".join(f"{text}\t{'xy'[number % 2]}\n" for number, text in enumerate(texts))
    (tmp_path / "mine.tsv").write_text("text\tlabel\n" + content)
    assert read_table(tmp_path / "mine.tsv", ["text"], "here")["text"].tolist() == texts


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path, suffix):
    path = write(tmp_path / f"mine{suffix}", [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert labels(path) == ["x", "y"]


def test_a_path_leads_into_chat_messages(tmp_path):
    rows = [{"messages": [{"role": "user", "content": text}], "label": text} for text in ("1.10", "b")]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "mine.parquet")
    for suffix in (".jsonl", ".parquet"):
        found = read_labelled(tmp_path / f"mine{suffix}", "messages.0.content", "label", "tasks.mine")
        assert found["text"].tolist() == ["1.10", "b"]
        assert "'messages' is a list, but a text is expected" in refusal(tmp_path / f"mine{suffix}", ("messages",))


def test_a_home_directory_may_be_written_short(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "mine.csv", [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}])
    assert labels("~/mine.csv") == ["x", "y"]


def test_a_float_too_large_to_be_exact_is_refused(tmp_path):
    pd.DataFrame({"text": ["a", "b"], "label": [9007199254740993, None]}).to_parquet(tmp_path / "mine.parquet")
    assert "row 1: 'label' is the float" in refusal(tmp_path / "mine.parquet")


@pytest.mark.parametrize(("width", "value"), [(pa.float16(), np.float16(2048)), (pa.float32(), 16777216.0)])
def test_a_narrow_float_is_refused_where_its_whole_numbers_run_together(tmp_path, width, value):
    table = pa.table({"text": ["a", "b"], "label": pa.array([value, value], width)})
    pq.write_table(table, tmp_path / "mine.parquet")
    assert f"row 1: 'label' is the float {float(value)!r}" in refusal(tmp_path / "mine.parquet")


def test_a_column_is_the_file_s_whatever_its_folder_is_called(tmp_path):
    (tmp_path / "label=1").mkdir()
    path = write(tmp_path / "label=1/mine.parquet", [{"text": "a", "label": "007"}, {"text": "b", "label": "7"}])
    assert labels(path) == ["007", "7"]


@pytest.mark.parametrize("name", ["Mine.CSV", "mine.csv.gz", "mine.jsonl.gz", "mine.TSV"])
def test_an_ending_may_be_in_capitals_and_a_file_packed(tmp_path, name):
    kind = ".jsonl" if "jsonl" in name else f".{name.split('.')[1].lower()}"
    plain = write(tmp_path / f"plain{kind}", [{"text": "a", "label": "1.10"}, {"text": "b", "label": "1.1"}])
    body = plain.read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(body) if name.endswith(".gz") else body)
    assert labels(tmp_path / name) == ["1.10", "1.1"]


def test_columns_divided_by_another_mark_are_explained(tmp_path):
    (tmp_path / "mine.csv").write_text("text;label\na;x\nb;y\n")
    assert "no column 'text'; it has 'text;label'; save it with commas, not ';'" in refusal(tmp_path / "mine.csv")


def test_rows_are_counted_by_what_they_lack(tmp_path):
    rows = [("a", "x"), ("b", "y"), ("", "x"), ("c", None), (" ", ""), ("NA", "None")]
    path = write(tmp_path / "mine.parquet", [{"text": text, "label": label} for text, label in rows])
    counts: dict[str, int] = {}
    assert len(read_labelled(path, "text", "label", "tasks.mine", counts=counts)) == 3
    assert counts == {"rows_read": 6, "without_text": 2, "without_label": 2}


def arbitrary(rng: random.Random) -> str:
    return "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 12)))


def test_arbitrary_strings_are_read_as_they_were_written(tmp_path):
    rng = random.Random(18)
    dialects = {
        ".csv": [{}, {"quoting": csv.QUOTE_ALL}, {"lineterminator": "\n"}],
        ".tsv": [{"quoting": csv.QUOTE_ALL}],
        ".jsonl": [{}, {"ensure_ascii": False}],
        ".parquet": [{}],
    }
    for number in range(TABLES):
        suffix = rng.choice(list(dialects))
        rows = [{"text": arbitrary(rng), "label": arbitrary(rng), "x": ""} for _ in range(rng.randint(1, 6))]
        path = write(tmp_path / f"{number}{suffix}", rows, **rng.choice(dialects[suffix]))
        found = read_table(path, ["text", "label"], "here")
        assert found.to_dict("records") == [{"text": row["text"], "label": row["label"]} for row in rows], path


def test_arbitrary_tab_separated_texts_are_read_as_they_stand(tmp_path):
    rng = random.Random(180)
    for number in range(TABLES // 4):
        rows = [[arbitrary(rng).translate(dict.fromkeys(map(ord, "\t\n\r"), " ")) for _ in "ab"] for _ in range(4)]
        rows = [[cell.replace('""', '"') for cell in row] for row in rows]  # a doubled quote is a sign of quoting
        rows = [[cell.replace('""', "'") for cell in row] for row in rows]
        path = tmp_path / f"{number}.tsv"
        path.write_text("text\tlabel\n" + "".join("\t".join(row) + "\n" for row in rows), encoding="utf-8", newline="")
        assert read_table(path, ["text", "label"], "here").to_numpy().tolist() == rows, path
