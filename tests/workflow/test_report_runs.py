"""What one looks at after a run: every figure, the page's provenance, Snakemake's own report."""

import json
import os
import re
import shutil
import subprocess

import pandas as pd
import pytest
import tiny_study
from tiny_study import REPOSITORY, TIMEOUT, jobs, snakemake, snakemake_command, study

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
    assert counts == {"map_texts": 1, "draw_text_map": 1, "build_report": 1}


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
    assert "verdict without labels" in page


ENTRY = """
FIGURES += (
    Figure(
        name="tasks_scored",
        drawing="tasks_scored.bars",
        inputs=lambda study, name: {"table": [f"{study.results}/ablations/{name}.parquet"]},
        options=lambda study, name: {"title": f"ablation {name}"},
        title="tasks scored",
        category="Ablations",
        section="ablations",
        per="ablation",
        names=lambda study: sorted(study["ablations"]),
        caption="How many rows a test counted.",
        alt="Bars of rows.",
    ),
)
"""
FUNCTION = """
from .style import drawing


def bars(table, title, out):
    with drawing(out) as (figure, axis):
        axis.bar(["rows"], [len(table)])
        axis.set_title(title)
"""


def test_a_new_figure_is_one_entry_and_its_function(finished, tmp_path):
    checkout, folder = tmp_path / "checkout", shutil.copytree(finished, tmp_path / "study", symlinks=True)
    for part in ("Snakefile", "workflow", "envs"):
        source = REPOSITORY / part
        checkout.mkdir(exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, checkout / part)
    figures = checkout / "workflow/promptpool/figures"
    (figures / "tasks_scored.py").write_text(FUNCTION)
    with (figures / "registry.py").open("a") as registry:
        registry.write(ENTRY)

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [tiny_study.PYTHON, *snakemake_command(folder, *arguments)[1:]]
        command[command.index("--snakefile") + 1] = str(checkout / "Snakefile")
        environ = {**os.environ, "PYTHONPATH": str(checkout / "workflow")}
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False, env=environ)

    answer = run("results/tiny/report.html")
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]
    assert jobs(answer) == {"draw_tasks_scored": 2, "build_report": 1}  # no other figure is drawn again
    page = (folder / "results/tiny/report.html").read_text(encoding="utf-8")
    part = page.split('<h2 id="ablations">')[1].split("</section>")[0]
    for name in study()["ablations"]:
        assert f'alt="Bars of rows. ({name})"' in part and f"figures/tasks_scored_{name}.svg</code>" in part
    assert part.count("How many rows a test counted.") == 2
    answer = run("--report", str(tmp_path / "own.html"))
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]
    own = (tmp_path / "own.html").read_text()
    assert "How many rows a test counted." in own and "tasks scored" in own
