"""A baseline inside an installed package: found, left out where the package is missing, and told apart from a hub's."""

import pytest
from promptpool.config.packaged import left_out, package_folder, place_packaged
from promptpool.config.resolve import resolve
from promptpool.study.study import Study
from sample_config import ROOT, demo, told

RIVAL = {"kind": "sentence-transformers", "package": "made_up_rival", "path": "model"}


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package with a model in it, which must not be imported."""
    (tmp_path / "made_up_rival/model").mkdir(parents=True)
    (tmp_path / "made_up_rival/__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "made_up_rival/model"


def test_an_installed_package_gives_the_directory(installed):
    full = resolve(demo(baselines__rival=RIVAL))
    assert full["baselines"]["rival"]["path"] == str(installed) and "package" not in full["baselines"]["rival"]
    assert resolve(full) == full
    assert left_out(demo(baselines__rival=RIVAL)) == [] and Study(full).unfetched() == []


def test_below_the_working_directory_its_path_names_no_folder_of_the_machine(installed, monkeypatch):
    monkeypatch.chdir(installed.parents[1])
    given = {"run": "r", "baselines": {"rival": dict(RIVAL)}}
    place_packaged(given)
    assert given["baselines"]["rival"]["path"] == "made_up_rival/model"


def test_without_the_package_the_baseline_is_left_out_by_name():
    assert package_folder("made_up_rival") is None
    full = resolve(demo(baselines__rival=RIVAL))
    assert "rival" not in full["baselines"] and full == resolve(demo())
    assert left_out(demo(baselines__rival=RIVAL)) == [
        "baselines.rival: package made_up_rival is not installed, so this baseline is left out"
    ]
    assert left_out({}) == left_out({"baselines": None}) == left_out(demo()) == []


def test_other_baselines_are_as_they_were():
    own = {"kind": "sentence-transformers", "path": "owner/name", "revision": "a" * 40}
    found = resolve(demo(baselines__other=own))["baselines"]["other"]
    assert found == {**own, "prompt": "{text}", "max_text_tokens": None, "trust_remote_code": False}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"path": "elsewhere"},
            "path: package made_up_rival has no directory 'elsewhere'; fix the path, or the version",
        ),
        ({"path": "/model"}, "path: '/model' is absolute, and with package it is inside that; write it relative"),
        ({"revision": "main"}, "revision: 'main' is for a hub model, and a package has a version; remove it"),
    ],
)
def test_a_faulty_one_is_answered_in_one_line(installed, change, line):
    assert told(demo(baselines__rival={**RIVAL, **change})) == f"config.yaml: baselines.rival.{line}"


def test_a_package_is_named_as_it_is_imported():
    assert told(demo(baselines__rival={**RIVAL, "package": "gt-all"})).startswith(
        "config.yaml: baselines.rival.package: "
    )
