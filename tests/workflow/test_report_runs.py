"""What one looks at after a run: every figure, the page's provenance, Snakemake's own report."""

import json
import re

import pandas as pd
import pytest
from tiny_study import jobs, snakemake, study

pytestmark = pytest.mark.workflow


def test_every_figure_is_drawn_twice(finished):
    folder = finished / "results/tiny/figures"
    names = {path.name.removesuffix(".svg") for path in folder.glob("*.svg")}
    assert {"heat_map", "cost_scores", "text_map", "tuned_steps", "ablation_prompts", "score_by_step_steps"} <= names
    assert names == {path.name.removesuffix(".png") for path in folder.glob("*.png")}
    assert "layer_curves" not in names  # the grid has one layer


def test_the_map_has_every_labelled_text_before_and_after(finished):
    table = pd.read_parquet(finished / "results/tiny/map.parquet")
    texts = pd.read_csv(finished / "labelled.csv")
    assert set(zip(table["adapter"], table["step"], strict=True)) == {("base", 0), ("tuned", 4)}  # the export's
    assert dict(zip(table["text"], table["label"], strict=True)) == dict(
        zip(texts["text"], texts["label"], strict=True)
    )
    assert table[["x", "y", "same"]].notna().all(axis=None)


def test_costs_know_every_prompt_of_the_grid(finished):
    table = pd.read_parquet(finished / "results/tiny/costs/small.parquet")
    assert set(table["prompt"]) == set(study()["grid"]["prompts"]) and (table["flops"] > 0).all()
    assert table.groupby("prompt")["tokens"].min()["cluster"] > table.groupby("prompt")["tokens"].min()["none"]


def test_the_page_tells_digests_commands_and_the_config_file(finished):
    page = (finished / "results/tiny/report.html").read_text()
    digest = json.loads((finished / "results/tiny/scores.parquet.meta.json").read_text())["digest"]
    assert digest[:16] in page and "corpora/lines.parquet" in page
    assert "--configfile study.yaml -- results/tiny/figures/text_map.svg" in page


def test_another_map_makes_coordinates_and_what_shows_them(finished):
    config = study()
    config["map"] = {"adapters": ["base", "tuned@2"], "pooling": "mean"}
    try:
        counts = jobs(snakemake(finished, "-n", config=config))
    finally:
        snakemake_config(finished)
    assert counts == {"map_texts": 1, "draw_text_map": 1, "report": 1}


def snakemake_config(folder) -> None:
    """Puts the tiny study's own config back."""
    import yaml

    (folder / "study.yaml").write_text(yaml.safe_dump(study(), sort_keys=False))


def test_snakemakes_own_report_has_captions_and_categories(finished, tmp_path):
    answer = snakemake(finished, "--report", str(tmp_path / "own.html"))
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]
    page = (tmp_path / "own.html").read_text()
    for category in ("Scores", "Ablations", "Training", "Pairs", "Report"):
        assert re.search(rf'"{category}"', page), category
    assert "Distances across a map" in page  # a caption
