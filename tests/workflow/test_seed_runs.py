"""A whole run of an adapter with two seeds and held-out pairs, and of an ablation over two things."""

import pandas as pd
import pytest
from tiny_study import snakemake, study

pytestmark = pytest.mark.workflow


def two_seeds() -> dict:
    config = study()
    config["pairs"].pop("written")
    config["attention"] = None
    # Each seed holds out pairs of its own.
    config["adapters"]["tuned"] |= {"seeds": [42, 7], "steps": [4], "validation": 0.2}
    config["grid"] |= {"prompts": ["none", "cluster"], "poolings": ["mean", "last"]}
    config["ablations"] = {
        "steps": config["ablations"]["steps"],
        "both": {
            "vary": ["prompt", "pooling"], "baseline": {"prompt": "none", "pooling": "mean"},
            "fixed": {"model": "small", "adapter": "base", "layer": -1},
        },
    }  # fmt: skip
    return config


def test_two_seeds_are_trained_scored_averaged_and_reported(prepare, tmp_path):
    folder = prepare(tmp_path / "study")
    answer = snakemake(folder, "--quiet", config=two_seeds())
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-4000:]
    results = folder / "results/tiny"
    assert {path.name for path in (results / "adapters").iterdir() if path.is_dir()} == {"tuned", "tuned~7"}
    assert (
        len(list((results / "mteb/results/promptpool__small.cluster.last.L-1").iterdir())) == 3
    )  # base and both seeds

    scores = pd.read_parquet(results / "scores.parquet")
    main = scores[scores["metric"] == "main_score"]
    cell = main[(main["prompt"] == "cluster") & (main["pooling"] == "last")]
    seeds = cell[cell["adapter"] == "tuned"].groupby("seed")["value"].mean()
    assert seeds.index.tolist() == [7, 42] and seeds[7] != seeds[42]
    assert cell.loc[cell["adapter"] == "base", "seed"].isna().all()

    steps = pd.read_parquet(results / "ablations/steps.parquet").query("task == 'mean'").set_index("value")
    assert steps.loc["tuned@4", "score"] == pytest.approx(seeds.mean()) and steps.loc["tuned@4", "seeds"] == 2
    summary = pd.read_parquet(results / "summary.parquet").query("task == 'mean'").set_index("row")
    assert summary.loc["export out", "score"] == pytest.approx(seeds[42]) and summary.loc["best tuned", "seeds"] == 2
    text = (results / "summary.txt").read_text()
    assert "means over 2 seeds of training" in text and "| prompt \\ pooling | mean | last |" in text
    page = (results / "report.html").read_text()
    assert "prompt \\ pooling" in page and "tuned~7" in page and (results / "figures/ablation_both.svg").exists()
    assert "this training (seed 42)" in (results / "models/out/README.md").read_text()

    again = snakemake(folder, "-n", config=two_seeds())
    assert "Nothing to be done" in again.stdout + again.stderr
