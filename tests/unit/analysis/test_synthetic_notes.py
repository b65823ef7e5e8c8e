"""Scores on synthetic queries say what they are, wherever they are explained."""

import pandas as pd
from promptpool.analysis.summarise_scores import HEADLINE, reading_notes
from promptpool.analysis.synthetic import SYNTHETIC_NOTE, as_synthetic, is_synthetic, synthetic_notes


def headline(*tasks: str) -> pd.DataFrame:
    row = {"row": "best tuned", "kind": "score", "model": "m", "adapter": "tuned", "of": 1, "seeds": 1}
    rows = [{**row, "task": task} for task in ("mean", *tasks)]
    return pd.DataFrame(rows).reindex(columns=HEADLINE).astype({"detectable": float})


def test_a_name_says_it_in_any_case():
    assert is_synthetic("MySyntheticSearch") and is_synthetic("synthetic-lines") and not is_synthetic("MySearch")
    assert is_synthetic(as_synthetic("MySearch"))


def test_the_summary_and_the_report_explain_it_only_where_there_are_such_tasks():
    assert [line for line in reading_notes(headline("Topics", "SyntheticLines")) if line in SYNTHETIC_NOTE] == [
        *SYNTHETIC_NOTE
    ]
    assert not set(SYNTHETIC_NOTE) & set(reading_notes(headline("Topics")))
    assert synthetic_notes([]) == []
