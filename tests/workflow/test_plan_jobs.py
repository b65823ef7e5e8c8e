"""The plan's jobs are the workflow's own, stage by stage."""

import pytest
import yaml
from promptpool.config.resolve import resolve
from promptpool.study.plan import rows
from promptpool.study.study import Study
from tiny_study import REPOSITORY, jobs, snakemake

pytestmark = pytest.mark.workflow
RULES = {
    "corpora": ("build_corpus",),
    "tasks": ("build_task", "write_search"),
    "pairs": ("make_pairs", "select_pairs"),
    "adapters": ("choose_negatives", "train_adapter", "unpack_adapter", "check_training_data"),
    "embeddings": ("embed_checkpoint",),
    "verdict": ("judge_tuning",),
    "scores": ("score_checkpoint", "embed_baseline", "score_baseline"),
    "attention": ("measure_attention", "measure_value_norms", "omit_words"),
    "models": ("export_model", "check_parity"),
}


def test_every_stage_has_the_jobs_that_the_plan_says(prepare, tmp_path, monkeypatch):
    folder = prepare(tmp_path / "study")
    asked = jobs(snakemake(folder, "-n", "all", "pairs"))
    monkeypatch.chdir(folder)
    planned = {row.stage: row.jobs for row in rows(Study(resolve(yaml.safe_load((folder / "study.yaml").read_text()))))}
    assert planned == {stage: sum(asked.get(rule, 0) for rule in rules) for stage, rules in RULES.items()}
    known = {path.stem for path in (REPOSITORY / "workflow/scripts").glob("*.py")}
    assert {rule for rules in RULES.values() for rule in rules} <= known
