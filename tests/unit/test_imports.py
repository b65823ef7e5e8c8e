"""What a job's process imports: a library that takes seconds only where the stage uses it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "mteb", "sentence_transformers", "matplotlib", "sklearn", "datasets", "peft", "scipy"}
# The stages whose modules import a library that runs a model at their start: they run one, or read MTEB's results.
MODELS = {
    "embed_checkpoint",
    "measure_attention",
    "measure_value_norms",
    "measure_costs",
    "omit_words",
    "check_parity",
    "check_serving",
    "export_model",
    "train_base_model",
}
MODELS |= {"write_mteb_results"}
STATISTICS = {
    "average_benchmarks",
    "build_report",
    "compare_ablation",
    "gather_scores",
    "judge_choice",
    "judge_tuning",
    "propose_readout",
    "summarise_scores",
    "summarise_attention",
    "summarise_omissions",
    "summarise_value_norms",
    "plan",
}


def modules_of(script: Path) -> list[str]:
    """What a stage's script imports of the package, besides the job's surroundings."""
    return re.findall(r"^ +from (promptpool[\w.]+) import", script.read_text(encoding="utf-8"), re.M)


def loaded(modules: list[str], watched: set[str]) -> set[str]:
    """Those of the watched packages that a process has after it imported some modules."""
    code = (
        f"import sys\nfor name in {modules!r}: __import__(name)\nprint(*(set({sorted(watched)!r}) & set(sys.modules)))"
    )
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


SCRIPTS = sorted((ROOT / "workflow/scripts").glob("*.py"))
KINDS = {
    "statistics": (STATISTICS, {"scipy"}),
    "neither": ({script.stem for script in SCRIPTS} - MODELS - STATISTICS, set()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_stages_start_without_libraries_that_they_do_not_use(kind):
    """All of a kind in one process: what one of them imported would be seen."""
    stages, used = KINDS[kind]
    modules = sorted({module for script in SCRIPTS if script.stem in stages for module in modules_of(script)})
    assert len(modules) > 5
    assert loaded(modules, HEAVY) <= used


def test_the_snakefile_imports_nothing_that_takes_long():
    """Each job's process reads it. Snakemake itself imports pandas; nothing of ours may add to that."""
    files = [ROOT / "workflow/Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    modules = [
        name for path in files for name in re.findall(r"^from (promptpool[\w.]+) import", path.read_text(), re.M)
    ]
    assert len(modules) > 8
    assert loaded(modules, HEAVY | {"numpy", "pandas", "pyarrow", "huggingface_hub"}) == set()
