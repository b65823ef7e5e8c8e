"""One set of versions: pyproject.toml pins them, and the conda environment and the lock say the same."""

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ALL = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]


def test_every_dependency_is_pinned():
    assert [line for line in ALL if "==" not in line] == []


def test_the_conda_environment_has_the_same_pins():
    parts = yaml.safe_load((ROOT / "envs/main.yaml").read_text())["dependencies"]
    (pip,) = [part["pip"] for part in parts if isinstance(part, dict)]
    assert pip == PROJECT["dependencies"]


def test_the_lock_has_the_same_pins():
    lock = dict(line.split("==") for line in (ROOT / "envs/lock.txt").read_text().split())
    lock = {name.lower().replace("_", "-"): version for name, version in lock.items()}
    assert {name: lock.get(name) for name, _ in (line.split("==") for line in ALL)} == dict(
        line.split("==") for line in ALL
    )


def test_what_vllms_environments_share_with_the_package_has_the_same_pins():
    ours = dict(line.split("==") for line in PROJECT["dependencies"])
    parts = yaml.safe_load((ROOT / "envs/vllm.yaml").read_text())["dependencies"]
    (pip,) = [part["pip"] for part in parts if isinstance(part, dict)]
    theirs = dict(line.split("==") for line in pip)
    assert {name: version for name, version in theirs.items() if name in ours} == {
        name: ours[name] for name in theirs if name in ours
    }


def test_every_rule_with_a_script_names_an_environment_that_is_there():
    for path in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for rule in path.read_text().split("\nrule ")[1:]:
            if "script:" in rule:
                assert "conda:" in rule and "envs/" in rule, f"{path.name}: {rule.partition(':')[0]}"
    assert {path.name for path in (ROOT / "envs").glob("*.yaml")} == {"main.yaml", "vllm.yaml"}


def test_the_container_installs_by_the_lock():
    recipe = (ROOT / "envs/Containerfile").read_text()
    assert "-c envs/lock.txt -e ." in recipe
    python = next(line for line in recipe.splitlines() if line.startswith("FROM"))
    (conda,) = [p for p in yaml.safe_load((ROOT / "envs/main.yaml").read_text())["dependencies"] if "python " in str(p)]
    assert conda.split("=")[-1] in python
