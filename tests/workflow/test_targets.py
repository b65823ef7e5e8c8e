"""Every named target is there and asks for what it needs, nothing else: dry runs of the tiny study, from nothing."""

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_study import jobs, snakemake, study

pytestmark = pytest.mark.workflow
TASK = {"build_task": 1}
PAIRS = {"build_corpus": 1, **TASK, "tasks_ready": 1, "make_pairs": 2, "select_pairs": 2}
ADAPTERS = PAIRS | {"make_pairs": 1, "select_pairs": 1, "train_adapter": 1, "unpack_adapter": 1}
EMBEDDINGS = ADAPTERS | {"embed_checkpoint": 3}
SCORES = EMBEDDINGS | {
    "score_checkpoint": 3, "score_baseline": 2, "check_training_data": 1, "gather_scores": 1, "write_mteb_results": 1,
}  # fmt: skip
EXACTLY = {
    "corpora": {"build_corpus": 1},
    "tasks": TASK,
    "pairs": PAIRS,
    "adapters": ADAPTERS,
    "embeddings": EMBEDDINGS,
    "scores": SCORES,
    "ablation_prompts": TASK
    | {"embed_checkpoint": 1, "score_checkpoint": 1, "compare_ablation": 1, "draw_ablation": 1},
    "verdict": {"judge_tuning": 1},  # no pair is held out
    "prefetch": {},
    "plan": {},
}
# target -> rules it must run, rules it must not
AMONG = {
    "ablation_steps": (
        {"compare_ablation", "train_adapter", "draw_ablation"},
        {"gather_scores", "score_baseline", "build_report"},
    ),
    "ablations": ({"compare_ablation", "train_adapter"}, {"gather_scores", "build_report", "measure_attention"}),
    "attention": (
        {"measure_attention", "train_adapter"},
        {"embed_checkpoint", "score_checkpoint", "compare_ablation", "build_report"},
    ),
    "figures": ({"draw_heat_map", "draw_ablation", "draw_attention_bars"}, {"build_report", "export_model"}),
    "report": ({"report", "build_report", "summarise_scores", "judge_tuning"}, {"export_model", "write_mteb_results"}),
    "models": ({"export_model", "check_parity"}, {"build_report", "measure_attention", "compare_ablation"}),
    "all": ({"build_report", "check_parity", "write_mteb_results"}, {"train_base_model", "plan"}),
}


@pytest.fixture(scope="module")
def fresh(prepare, tmp_path_factory) -> Path:
    return prepare(tmp_path_factory.mktemp("targets") / "study")


@pytest.mark.parametrize("target", EXACTLY)
def test_a_target_runs_exactly(fresh, target):
    assert without(jobs(snakemake(fresh, "-n", target)), target) == EXACTLY[target]


@pytest.mark.parametrize("target", AMONG)
def test_a_target_runs_what_it_needs(fresh, target):
    wanted, unwanted = AMONG[target]
    found = set(jobs(snakemake(fresh, "-n", target)))
    assert wanted <= found
    assert not unwanted & found


def test_every_ablation_has_a_target_of_its_name(fresh):
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(Path(__file__).parents[2] / "Snakefile")]
    command += ["--directory", str(fresh), "--configfile", str(fresh / "study.yaml"), "--list-target-rules"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    for name in study()["ablations"]:
        assert f"ablation_{name}" in answer.stdout


def without(counts: dict[str, int], target: str) -> dict[str, int]:
    """The target itself is a job, too, that does nothing."""
    return {rule: count for rule, count in counts.items() if rule != target}
