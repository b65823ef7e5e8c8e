"""What the catalog of Snakemake workflows asks for: planning and linting with Snakemake alone, and use as a module."""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from promptpool import __version__
from tiny_study import REPOSITORY

MODULE = f"""
configfile: "study.yaml"


module promptpool:
    snakefile:
        "{REPOSITORY}/workflow/Snakefile"
    config:
        config


use rule * from promptpool
"""


def needed(name: str, known: dict) -> dict:
    """A distribution and all that it asks for, by normalised name."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key not in known:
        known[key] = importlib.metadata.distribution(key)
        for line in known[key].requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                needed(requirement.name, known)
    return known


@pytest.fixture(scope="module")
def only_snakemake(tmp_path_factory) -> Path:
    """A folder of packages that holds Snakemake and what it depends on, and nothing else."""
    folder = tmp_path_factory.mktemp("only")
    for distribution in needed("snakemake", {}).values():
        for top in {file.parts[0] for file in distribution.files} - {"..", "bin", "__pycache__"}:
            place = Path(distribution.locate_file(top))
            if place.exists() and not (folder / top).exists():
                (folder / top).symlink_to(place)
    return folder


def alone(packages: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Snakemake with these packages, and without this interpreter's own (-S)."""
    command = [sys.executable, "-S", "-m", "snakemake", "--directory", str(folder), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300)


def test_the_environment_lacks_what_the_jobs_need(only_snakemake):
    code = "import snakemake\ntry:\n    import numpy\nexcept ImportError:\n    print('none')"
    environment = {**os.environ, "PYTHONPATH": str(only_snakemake)}
    answer = subprocess.run([sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True)
    assert answer.stdout == "none\n", answer.stderr


@pytest.mark.parametrize("study", ["config.yaml", "config/config.yaml"])
def test_a_study_is_planned_where_only_snakemake_is_installed(only_snakemake, tmp_path, study):
    command = ["-n", "--cores", "1", "--quiet", "rules", "--configfile", str(REPOSITORY / study)]
    answer = alone(only_snakemake, tmp_path, *command)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert re.search(r"^train_adapter +\d+$", answer.stdout, re.M) and re.search(r"^all +1$", answer.stdout, re.M)


def test_the_workflow_is_linted_where_only_snakemake_is_installed(only_snakemake, tmp_path):
    answer = alone(only_snakemake, tmp_path, "--lint", "--configfile", str(REPOSITORY / "config/config.yaml"))
    assert answer.returncode == 0 and "in a good condition" in answer.stdout + answer.stderr, answer.stderr


def test_the_workflow_is_used_as_a_module(prepare, tmp_path):
    prepare(tmp_path)
    (tmp_path / "Snakefile").write_text(MODULE)
    command = [sys.executable, "-m", "snakemake", "-n", "--cores", "2", "--quiet", "rules"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert re.search(r"^train_adapter +1$", answer.stdout, re.M)
    made = [*command[:3], "--cores", "2", "--", "results/tiny/corpora/lines.parquet"]
    answer = subprocess.run(made, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0 and (tmp_path / "results/tiny/corpora/lines.parquet").exists(), answer.stderr


def test_the_catalogs_files_are_there_and_agree_with_the_package():
    usage = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert {"software-stack-deployment", "mandatory-flags"} <= set(usage)
    assert (REPOSITORY / "config/README.md").is_file()
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert cited["version"] == __version__ and cited["cff-version"] == "1.2.0"
    assert "2507.22729" in cited["preferred-citation"]["url"]
