"""The corpus stage says, in its log and its sidecar, how many rows went in and came out."""

import json

import pandas as pd
from promptpool.data.build_corpus import build_corpus

SPEC = {"source": "file", "column": "text", "positive": None}


def test_rows_in_and_out_are_in_the_log_and_the_sidecar(tmp_path, capsys):
    (tmp_path / "mine.csv").write_text('text\nNone\n" "\nNA\nNA\nnull\n""\n1.10\n1.1\n')
    out = tmp_path / "corpora/lines.parquet"
    out.parent.mkdir()
    build_corpus(str(out), {**SPEC, "path": str(tmp_path / "mine.csv")})
    facts = json.loads((tmp_path / "corpora/lines.parquet.meta.json").read_text())
    assert pd.read_parquet(out)["text"].tolist() == ["None", "NA", "null", "1.10", "1.1"]
    assert {key: facts[key] for key in ("rows_read", "without_text", "repeated", "rows")} == {
        "rows_read": 8, "without_text": 2, "repeated": 1, "rows": 5,
    }  # fmt: skip
    line = f"corpora.lines: {tmp_path / 'mine.csv'}: 8 rows read, 5 kept (without_text: 2, repeated: 1)"
    assert line in capsys.readouterr().out.splitlines()


def test_a_missing_positive_is_counted_apart(tmp_path):
    rows = [{"text": "a", "positive": "b"}, {"text": "c", "positive": None}, {"text": "", "positive": "d"}]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "lines.parquet"
    build_corpus(str(out), {**SPEC, "positive": "positive", "path": str(tmp_path / "mine.jsonl")})
    facts = json.loads((tmp_path / "lines.parquet.meta.json").read_text())
    assert (facts["rows_read"], facts["without_text"], facts["without_positive"], facts["rows"]) == (3, 1, 1, 1)
