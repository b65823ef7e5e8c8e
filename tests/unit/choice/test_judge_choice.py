"""What a choice scores, how well criteria rank, and that no pair is a task's text."""

import numpy as np
import pandas as pd
import pytest
from promptpool.analysis.choice_rows import CHOSEN, TO_BEST, TO_PAPER, choice_headline, choice_lines
from promptpool.choice.criteria import CRITERIA
from promptpool.choice.hold_out_pairs import hold_out_pairs
from promptpool.choice.judge_choice import AGREEMENT, OUTCOME, agreement_rows, outcome_rows, require_no_task
from promptpool.choice.propose_readout import CANDIDATES, marked
from promptpool.errors import PromptpoolError
from promptpool.report.choice import choice_content
from promptpool.statistics.estimates import Part, Sample

VARIANTS = [("small", "base", 0, "cluster", name, -1.0) for name in ("last", "mean", "weighted", "max")]
PAPER = ("small", "base", 0, "cluster", "last", -1)


@pytest.fixture
def candidates() -> pd.DataFrame:
    """mrr orders the variants as the tasks do, the others the other way round."""
    rows = [
        (*variant, criterion, value if criterion == "mrr" else -value, value, value, 30)
        for value, variant in enumerate(VARIANTS)
        for criterion in CRITERIA
    ]
    return marked(pd.DataFrame(rows, columns=CANDIDATES[:-2]), "mrr")


@pytest.fixture
def scored() -> dict:
    draw = np.random.default_rng(0).normal(0, 0.02, 50)
    return {
        variant: {"topics": Sample(0.4 + 0.1 * place, (Part(np.array([[0.4 + 0.1 * place]]), 0.4 + draw),))}
        for place, variant in enumerate(VARIANTS)
    }


def test_each_criterions_choice_stands_beside_the_best_and_the_papers(candidates, scored):
    table = pd.DataFrame(outcome_rows(candidates, scored, PAPER), columns=OUTCOME)
    found = table.set_index(["criterion", "row"])["score"]
    assert found["mrr", CHOSEN] == pytest.approx(0.7) and found["margin", CHOSEN] == pytest.approx(0.4)
    assert found["mrr", TO_BEST] == 0 and found["margin", TO_BEST] == pytest.approx(-0.3)
    assert found["mrr", TO_PAPER] == pytest.approx(0.3)
    assert list(table[table["proposed"]]["criterion"].unique()) == ["mrr"]
    rows = list(choice_headline(table))
    assert [row["kind"] for row in rows] == ["score", "difference", "difference"]


def test_the_order_of_each_criterion_is_compared_with_the_tasks(candidates, scored):
    table = pd.DataFrame(agreement_rows(candidates, scored), columns=AGREEMENT).set_index("criterion")
    assert table.loc["mrr", "spearman"] == pytest.approx(1) and table.loc["margin", "kendall"] == pytest.approx(-1)
    assert set(table["n"]) == {4} and set(table["among"]) == {"all candidates"}


def test_without_scores_the_choice_is_told_alone(candidates):
    outcome = pd.DataFrame(outcome_rows(candidates, {}, PAPER), columns=OUTCOME)
    agreement = pd.DataFrame(agreement_rows(candidates, {}), columns=AGREEMENT)
    assert choice_lines(outcome, agreement) == [
        "Held-out pairs alone chose small, untuned, prompt cluster, max, by mrr of 4 variants."
    ]
    assert list(choice_headline(outcome)) == []
    content = choice_content(outcome, agreement)
    assert [row["chosen"] for row in content["rows"]] == [None] * len(CRITERIA) and content["best"] == ""


def test_a_pair_that_is_a_tasks_text_ends_the_job(tmp_path):
    pd.DataFrame({"text": ["A text, of a task."]}).to_parquet(tmp_path / "texts.parquet")
    pairs = pd.DataFrame({"text": ["another"], "positive": ["a text of a task"]})
    with pytest.raises(PromptpoolError, match=r"task topics: the choice read its text 'A text, of a task.'"):
        require_no_task(pairs, {"topics": str(tmp_path / "texts.parquet")})
    paths = {"topics": str(tmp_path / "texts.parquet")}
    require_no_task(pairs.assign(positive="something else"), paths)


def sets_of(tmp_path, n: int) -> dict[str, str]:
    found = {}
    for name in ("one", "two"):
        found[name] = str(tmp_path / f"{name}.parquet")
        pd.DataFrame({
            "text": [f"text number {i}" for i in range(n)], "positive": [f"{name} says {i} so" for i in range(n)],
            "style": "halves", "source_id": [f"s{i}" for i in range(n)],
        }).to_parquet(found[name])  # fmt: skip
    return found


def test_pairs_are_those_that_no_training_saw(tmp_path):
    out, texts = str(tmp_path / "pairs.parquet"), str(tmp_path / "texts.parquet")
    sets, one = sets_of(tmp_path, 200), {"pairs": ["one"], "validation": 0.3, "seed": 1}
    hold_out_pairs(out, texts, sets, {"a": one})
    alone = pd.read_parquet(out)
    hold_out_pairs(out, texts, sets, {"a": one, "b": {"pairs": ["two"], "validation": 0.5, "seed": 2}})
    both = pd.read_parquet(out)
    assert 0 < len(both) < len(alone) < 100 and set(both["source_id"]) < set(alone["source_id"])
    hold_out_pairs(out, texts, sets, {})
    assert len(pd.read_parquet(out)) == 200
    with pytest.raises(PromptpoolError, match=r"choice: .* are held out of every candidate \(a\), and"):
        hold_out_pairs(out, texts, sets_of(tmp_path, 30), {"a": one})
