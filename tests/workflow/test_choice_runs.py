"""The choice without labels of a tiny study, with a lexical part: its files, what shows it, what runs again."""

import pandas as pd
import pytest
from promptpool.choice.criteria import CRITERIA
from promptpool.runtime.code_digest import UNCOUNTED, computations
from promptpool.training.validation import hold_out
from test_reached import SAID
from tiny_study import jobs, snakemake, study

pytestmark = pytest.mark.workflow
ENTERED = ("hold_out_pairs", "propose_readout", "judge_choice", "fit_lexical")
WORDS = {"parts": [{"pooling": "last", "post_processing": "center"}, {"lexical": "tfidf-svd", "dim": 4, "weight": 0.5}]}


def choosing() -> dict:
    config = study()
    for section in ("attention", "exports", "ablations"):
        config.pop(section)
    config["pairs"].pop("written")
    config["adapters"]["tuned"] |= {"validation": 0.4}
    config["grid"] |= {"prompts": ["cluster"], "poolings": ["mean", "last"], "layers": [-1, 1]}
    config |= {"baselines": {}, "aggregations": {"words": WORDS}, "choice": {"criterion": "margin"}}
    return config


@pytest.fixture(scope="module")
def chosen(prepare, reaching, tmp_path_factory):
    folder = prepare(tmp_path_factory.mktemp("choice") / "study")
    before = choosing()
    del before["choice"], before["aggregations"]
    plain = jobs(snakemake(folder, "-n", "results/tiny/summary.txt", config=before))
    assert not {*ENTERED, "fit_statistics"} & set(plain)
    answer = snakemake(folder, "results/tiny/summary.txt", config=choosing(), **reaching(folder / "reached.tsv"))
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]
    return folder


def test_every_candidate_has_every_criterion_from_pairs_that_no_training_saw(chosen):
    results = chosen / "results/tiny"
    table = pd.read_parquet(results / "choice/candidates.parquet")
    assert set(table["criterion"]) == set(CRITERIA)
    variants = table[["adapter", "step", "pooling", "layer"]].drop_duplicates()
    assert len(variants) == 3 * (2 * 2 + 1) and set(variants["pooling"]) == {"mean", "last", "words"}
    assert table["best"].sum() == len(CRITERIA) and table["proposed"].sum() == 1
    assert table.loc[table["proposed"], "criterion"].item() == "margin"
    pairs = pd.read_parquet(results / "choice/pairs.parquet")
    kept, _ = hold_out(pd.read_parquet(results / "pairs/halves/pairs.parquet"), 0.4, 42)
    assert len(pairs) >= 20 and not set(pairs["source_id"]) & set(kept["source_id"])
    assert set(pd.read_parquet(results / "choice/texts.parquet")["text"]) == {*pairs["text"], *pairs["positive"]}


def test_what_it_scores_stands_beside_the_best_and_the_papers(chosen):
    results = chosen / "results/tiny"
    outcome = pd.read_parquet(results / "choice/outcome.parquet")
    assert set(outcome["row"]) == {"chosen", "chosen - best", "chosen - paper's"}
    assert (outcome.loc[outcome["row"] == "chosen - best", "score"] <= 0).all()
    summary = pd.read_parquet(results / "summary.parquet").set_index("row")
    own = outcome[outcome["proposed"]].set_index("row")["score"]
    assert summary.loc["chosen without labels", "score"] == own["chosen"]
    assert summary.loc["chosen without labels - best candidate", "score"] == own["chosen - best"]
    agreement = pd.read_parquet(results / "choice/agreement.parquet")
    assert agreement.groupby("among")["n"].first()["all candidates"] == 15
    told = (results / "summary.txt").read_text()
    assert "Held-out pairs alone chose small, " in told and "Kendall's tau" in told


def test_nothing_is_left_and_another_criterion_chooses_alone(chosen):
    assert jobs(snakemake(chosen, "-n", "results/tiny/summary.txt", config=choosing())) == {}
    config = choosing()
    config["choice"]["criterion"] = "mrr"
    again = jobs(snakemake(chosen, "-n", "results/tiny/summary.txt", config=config))
    assert set(again) == {"propose_readout", "judge_choice", "summarise_scores"}


def test_what_its_scripts_enter_is_in_their_digests(chosen):
    entered = {name: set() for name in ENTERED}
    for line in (chosen / "reached.tsv").read_text(encoding="utf-8").splitlines():
        script, module, name = line.split("\t")
        if script in entered and module.partition(".")[0] not in UNCOUNTED:
            entered[script].add((module, name.partition(".")[0]))
    assert not set().union(*(found - set(computations(name)) - SAID for name, found in entered.items()))
    assert all(entered.values())
