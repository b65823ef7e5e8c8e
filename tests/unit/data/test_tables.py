"""Users' files: every fault is told in one line that names the file and the mend."""

import numpy as np
import pandas as pd
import pytest
from promptpool.data.tables import read_labelled, read_texts
from promptpool.errors import PromptpoolError

ROWS = pd.DataFrame({"text": ["a graph", "bread, and butter", "日本"], "label": ["x", "y", "x"], "id": [1, 2, 3]})


def write(path, table: pd.DataFrame = ROWS):
    if path.suffix == ".parquet":
        table.to_parquet(path)
    elif path.suffix == ".jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_csv(path, sep="\t" if path.suffix == ".tsv" else ",", index=False)
    return path


def refusal(path, text: str = "text", label: str = "label") -> str:
    with pytest.raises(PromptpoolError) as caught:
        read_labelled(path, text, label, "tasks.mine")
    told = str(caught.value)
    assert told.startswith(f"tasks.mine: {path}: ") and "\n" not in told
    return told


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv", ".jsonl"])
def test_every_file_type_gives_the_same_table(tmp_path, suffix):
    found = read_labelled(write(tmp_path / f"mine{suffix}"), "text", "label", "tasks.mine")
    assert found.values.tolist() == ROWS[["text", "label"]].values.tolist()
    assert list(found.columns) == ["text", "label"]


def test_columns_may_have_any_name_and_labels_any_type(tmp_path):
    path = write(tmp_path / "mine.csv", ROWS.rename(columns={"text": "body", "id": "class"}))
    assert read_labelled(path, "body", "class", "tasks.mine")["label"].tolist() == ["1", "2", "3"]


def test_rows_with_a_gap_are_left_out(tmp_path):
    path = write(tmp_path / "mine.csv", pd.concat([ROWS, pd.DataFrame({"text": ["no label"], "label": [None]})]))
    assert len(read_labelled(path, "text", "label", "tasks.mine")) == len(ROWS)


def test_a_missing_file_is_named(tmp_path):
    assert "no such file" in refusal(tmp_path / "absent.csv")


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    assert "no such file" in refusal(tmp_path / "folder.csv")


def test_a_missing_column_is_named_with_those_there(tmp_path):
    assert "no column 'category'; it has 'text', 'label', 'id'" in refusal(
        write(tmp_path / "mine.csv"), label="category"
    )


def test_a_file_without_rows_is_named(tmp_path):
    assert "the file has no rows" in refusal(write(tmp_path / "mine.csv", ROWS.head(0)))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_file_of_no_bytes_is_named(tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    path.touch()
    refusal(path)


def test_one_label_is_not_enough(tmp_path):
    told = refusal(write(tmp_path / "mine.csv", ROWS.assign(label="x")))
    assert "only the label 'x'; clustering needs at least two labels" in told


def test_no_labelled_row_is_named(tmp_path):
    assert "no labelled row" in refusal(write(tmp_path / "mine.csv", ROWS.assign(label=None)))


def test_an_unknown_type_is_named_with_those_known(tmp_path):
    (tmp_path / "mine.xlsx").write_bytes(b"x")
    assert "unknown file type; use one of .parquet, .csv, .tsv, .jsonl" in refusal(tmp_path / "mine.xlsx")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mine.parquet", b"this is no parquet"),
        ("mine.jsonl", b'{"text": "a"\n'),
        ("mine.csv", b'text,label\n"a,x\n'),
        ("mine.csv", b"text,label\na,b,c,d\ne,f\n1,2,3,4,5\n"),
        ("mine.csv", "text,label\nnaïve,x\ncafé,y\n".encode("latin-1")),
    ],
)
def test_a_broken_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refusal(tmp_path / name)


def test_texts_of_a_file_are_one_column_without_gaps(tmp_path):
    path = write(tmp_path / "mine.csv", pd.concat([ROWS, pd.DataFrame({"text": [None], "label": ["x"]})]))
    spec = {"source": "file", "path": path, "column": "text", "positive": None}
    assert read_texts(spec, "corpora.mine")["text"].tolist() == ROWS["text"].tolist()


def test_texts_may_bring_their_positives_and_a_row_with_a_gap_is_left_out(tmp_path):
    path = write(tmp_path / "mine.csv", pd.DataFrame({"a": ["x", "y", None], "b": ["p", None, "q"]}))
    rows = read_texts({"source": "file", "path": path, "column": "a", "positive": "b"}, "corpora.mine")
    assert rows.to_dict("list") == {"text": ["x"], "positive": ["p"]}


def test_a_parquet_file_with_bytes_that_are_no_text_is_told_in_one_line(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    offsets, broken = pa.py_buffer(np.array([0, 1, 2], dtype=np.int32)), pa.py_buffer(b"\xff\xfe")
    texts = pa.Array.from_buffers(pa.string(), 2, [None, offsets, broken])
    pq.write_table(pa.table({"text": texts, "label": ["a", "b"]}), tmp_path / "mine.parquet")
    with pytest.raises(
        PromptpoolError, match=r"^tasks\.mine: .*mine\.parquet: cannot be read as parquet: .*"
    ) as caught:
        read_labelled(tmp_path / "mine.parquet", "text", "label", "tasks.mine")
    assert "\n" not in str(caught.value)


def test_a_parquet_file_with_foreign_metadata_is_told_in_one_line(tmp_path):
    path = tmp_path / "mine.parquet"
    pd.DataFrame({"text": ["bread", "sail"], "label": ["a", "b"]}).to_parquet(path)
    path.write_bytes(path.read_bytes().replace(b'"numpy_type": "', b'"numpy_type": "t'))
    with pytest.raises(PromptpoolError, match=r"cannot be read as parquet: "):
        read_labelled(path, "text", "label", "tasks.mine")
