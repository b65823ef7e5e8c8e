"""The report's section on the choice without labels."""

import pandas as pd
from promptpool.analysis.choice_rows import ALL, CHOSEN, TO_BEST, TO_PAPER, choice_lines
from promptpool.choice.criteria import CRITERIA
from promptpool.choice.judge_choice import AGREEMENT, OUTCOME
from sample_report import ATTACK, build

VARIANT = {"model": "nano-docs", "adapter": "base", "step": 0, "prompt": "cluster", "pooling": "mean", "layer": -1.0}


def tables(label: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = [
        {"criterion": criterion, "proposed": criterion == "mrr", "row": row, **VARIANT, "label": label, "other": label,
         "value": 0.4, "candidates": 12, "score": score, "low": score - 0.01, "high": score + 0.01, "n": 10, "p": 0.5,
         "detectable": 0.02, "of": 12}
        for criterion in CRITERIA
        for row, score in ((CHOSEN, 0.413), (TO_BEST, -0.021), (TO_PAPER, 0.037))
    ]  # fmt: skip
    agreement = [(ALL, criterion, 0.71, 0.55, 12) for criterion in CRITERIA]
    return pd.DataFrame(rows, columns=OUTCOME), pd.DataFrame(agreement, columns=AGREEMENT)


def page(folder, label: str) -> str:
    folder.mkdir()
    paths = []
    for name, table in zip(("outcome", "agreement"), tables(label), strict=True):
        paths.append(folder / f"{name}.parquet")
        table.to_parquet(paths[-1])
    return build(folder / "page", choice=paths).read_text(encoding="utf-8")


def test_every_criterion_has_its_choice_beside_the_best_and_the_papers(tmp_path):
    html = page(tmp_path / "calm", "the mean of all tokens")
    section = html.partition('id="choice"')[2].partition("</section>")[0]
    assert "mrr (decides)" in section and section.count("(decides)") == 1
    assert all(number in section for number in ("41.3", "−2.1", "+3.7", "0.71", "0.55"))
    assert "Held-out pairs alone chose the mean of all tokens, by mrr of 12 variants." in section
    assert 'href="#choice"' in html
    assert ATTACK not in page(tmp_path / "attacked", ATTACK)


def test_a_run_without_a_choice_has_no_section(tmp_path):
    assert 'id="choice"' not in build(tmp_path / "page").read_text(encoding="utf-8")


def test_a_choice_that_is_the_best_says_so():
    outcome, agreement = tables("the mean of all tokens")
    assert "It is the best of them, which only the tasks' labels show." in choice_lines(outcome, agreement)
    other = outcome.assign(other=outcome["row"].map({TO_BEST: "the last token"}).fillna(outcome["other"]))
    assert any(line.endswith("(the last token): -2.1 [-3.1, -1.1].") for line in choice_lines(other, agreement))
