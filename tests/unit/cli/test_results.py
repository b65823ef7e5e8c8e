"""`promptpool scores` of a finished run: the headline, the best variants in order, and the ablations that are whole."""

import json
import re
from pathlib import Path

import pytest
import yaml
from promptpool.cli.command import main
from sample_tables import sample_facts, sample_scores, sample_steps
from tiny_study import study


@pytest.fixture
def results(tmp_path, monkeypatch) -> Path:
    """A run's results, and the working directory that its study lies in."""
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(yaml.safe_dump(study()))
    folder = tmp_path / "results/tiny"
    (folder / "ablations").mkdir(parents=True)
    for task, facts in sample_facts().items():
        (folder / "tasks" / task).mkdir(parents=True)
        (folder / "tasks" / task / "facts.json").write_text(json.dumps(facts))
    (folder / "summary.txt").write_text("the headline\n")
    sample_scores().to_parquet(folder / "scores.parquet")
    sample_steps().to_parquet(folder / "ablations/steps.parquet")
    return folder


def test_the_best_variants_come_in_order_and_then_the_ablations(results, capsys):
    assert main(["scores", "--top", "4"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("the headline\n")
    table = shown.partition("The best 4 of ")[2]
    means = [float(row[0]) for row in re.findall(r"(\d+\.\d) +(\d+\.\d) +(\d+\.\d)$", table, re.MULTILINE)]
    assert len(means) == 4 and means == sorted(means, reverse=True)
    assert "Ablation steps: " in table and table.rstrip().endswith("ablations/steps.parquet")


def test_an_ablation_that_is_being_written_is_not_one(results, capsys):
    (results / "ablations/.prompts.parquet.7.tmp.parquet").write_bytes(b"half")
    assert main(["scores"]) == 0
    assert re.findall(r"^Ablation (\S+):", capsys.readouterr().out, re.MULTILINE) == ["steps"]


@pytest.mark.parametrize("missing", ["summary.txt", "scores.parquet"])
def test_a_run_that_is_not_finished_is_one_line(results, capsys, missing):
    (results / missing).unlink()
    assert main(["scores"]) != 0
    said = capsys.readouterr().err.strip()
    assert missing in said and "promptpool run" in said and "\n" not in said
