"""The verdict of a tiny study that holds pairs out: its files, what shows it, what makes it again."""

import json

import pandas as pd
import pytest
import yaml
from promptpool.runtime.code_digest import UNCOUNTED, computations
from promptpool.runtime.rebuild import damaged, owner_of
from promptpool.training.validation import hold_out
from test_reached import SAID
from tiny_study import jobs, snakemake, study

pytestmark = pytest.mark.workflow
SHARE = 0.4


def holding_out() -> dict:
    config = study()
    config["adapters"]["tuned"]["validation"] = SHARE
    return config


@pytest.fixture(scope="module")
def judged(prepare, reaching, tmp_path_factory):
    """A study after its target `verdict`, and what its script entered."""
    folder = prepare(tmp_path_factory.mktemp("verdict") / "study")
    answer = snakemake(folder, "verdict", config=holding_out(), **reaching(folder / "reached.tsv"))
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]
    return folder


def test_it_is_about_the_pairs_that_training_did_not_see(judged):
    results = judged / "results/tiny"
    found = json.loads((results / "verdict.json").read_text())
    pairs = pd.read_parquet(results / "verdict/pairs.parquet")
    kept, held = hold_out(pd.read_parquet(results / "pairs/halves/pairs.parquet"), SHARE, 42)
    assert len(pairs) == found["n"] and 20 < found["n"] <= len(held)
    assert set(pairs["text"]) <= set(held["text"]) and not set(pairs["text"]) & set(kept["text"])
    assert found["checkpoint"] == {"model": "small", "adapter": "tuned", "step": 4}
    assert found["verdict"] in ("better", "no clear difference", "worse")
    assert found["measures"].keys() == {"recall@1", "recall@10", "ndcg@10"}
    assert (results / "verdict.txt").read_text().startswith(found["line"])


def test_nothing_is_left_to_do_and_another_adapter_is_judged_again(judged):
    assert jobs(snakemake(judged, "-n", "verdict", config=holding_out())) == {}
    config = holding_out()
    config["grid"]["poolings"].append("max")
    assert jobs(snakemake(judged, "-n", "verdict", config=config)) == {}
    config["adapters"]["tuned"]["temperature"] = 0.1
    assert jobs(snakemake(judged, "-n", "verdict", config=config))["judge_tuning"] == 1


def test_a_damaged_file_is_made_again_by_its_job(judged):
    results = judged / "results/tiny"
    vectors = next((results / "verdict/base").rglob("*.safetensors"))
    whole = vectors.read_bytes()
    vectors.write_bytes(whole[:-1] + b"x")
    assert [str(path) for path, _ in damaged(results)] == [str(vectors)]
    vectors.write_bytes(whole)
    manifest = "results/tiny/verdict/base/vectors.json"
    assert owner_of(vectors) == owner_of(vectors.parents[1] / "texts.parquet") == manifest


def test_what_its_script_enters_is_in_its_digest(judged):
    held, entered = set(computations("judge_tuning")), set()
    for line in (judged / "reached.tsv").read_text(encoding="utf-8").splitlines():
        script, module, name = line.split("\t")
        if script == "judge_tuning" and module.partition(".")[0] not in UNCOUNTED:
            entered.add((module, name.partition(".")[0]))
    assert ("training.validation", "hold_out") in entered and entered - held - SAID == set()


def test_the_whole_study_shows_it(finished):
    """The shared study holds out none, which it says everywhere."""
    results = finished / "results/tiny"
    line = (results / "verdict.txt").read_text().splitlines()[0]
    assert line.startswith("Not known: no pair is held out of adapter tuned")
    assert line in (results / "summary.txt").read_text() and line in (results / "report.html").read_text()


def test_a_study_that_trains_nothing_has_no_verdict(prepare, tmp_path):
    folder, config = prepare(tmp_path / "study"), study()
    config |= {"adapters": {}, "exports": {}, "ablations": {}}
    config["grid"]["adapters"] = []
    (folder / "study.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    assert "judge_tuning" not in jobs(snakemake(folder, "-n", "all"))
