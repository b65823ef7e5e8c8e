"""A study without labelled texts: which jobs are left, and tables that are empty instead of missing."""

import pandas as pd
import pytest
from promptpool.analysis.gather_scores import gather_scores
from promptpool.analysis.summarise_scores import as_text, headline
from promptpool.config.resolve import resolve
from promptpool.errors import PromptpoolError
from promptpool.study.study import Study
from tiny_study import study

KEYS = ["model", "adapter", "step", "seed", "prompt", "pooling", "layer", "task", "split", "subset", "level", "metric"]


def unlabelled(**changes: object) -> dict:
    config = study()
    for section in ("tasks", "ablations", "attention"):
        del config[section]
    config["adapters"]["tuned"]["validation"] = 0.2
    return config | changes


def test_nothing_is_embedded_or_scored_and_an_export_is_compared_on_the_corpus():
    made = Study(resolve(unlabelled(), files=False))
    assert made.grid_jobs() == [] and made.map_spec() is None
    assert made.parity_texts() == "results/tiny/corpora/lines.parquet"
    labelled = Study(resolve(study(), files=False))
    assert labelled.grid_jobs() and labelled.parity_texts() == "results/tiny/tasks/topics/texts.parquet"


@pytest.mark.parametrize(("section", "given"), [
    ("ablations", study()["ablations"]), ("attention", study()["attention"]),
    ("aggregations", {"two": {"parts": [{"pooling": "mean"}, {"pooling": "last"}]}}),
])  # fmt: skip
def test_what_needs_a_task_is_refused_without_one(section, given):
    with pytest.raises(PromptpoolError) as caught:
        resolve(unlabelled(**{section: given}), files=False)
    assert "task" in str(caught.value) and "\n" not in str(caught.value)


def test_without_held_out_pairs_a_task_is_needed():
    config = unlabelled()
    del config["adapters"]["tuned"]["validation"]
    with pytest.raises(PromptpoolError, match="tasks: none given; add one, or name a benchmark"):
        resolve(config, files=False)


def test_the_tables_are_empty_and_the_summary_says_why(tmp_path):
    out = tmp_path / "scores.parquet"
    gather_scores([], str(out), KEYS, {})
    scores = pd.read_parquet(out)
    assert len(scores) == 0 and set(KEYS) | {"experiment", "value"} == set(scores.columns)
    table = headline(scores, {}, {}, {"none": "{text}"})
    assert len(table) == 0 and "row" in table
    assert "no labelled texts" in as_text(table, "tiny")
