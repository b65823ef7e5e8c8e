"""An adapter of several seeds: its trainings' names, jobs and recipes; the first one is as without the key."""

import pytest
from promptpool.config.adapters import adapter_of
from promptpool.config.resolve import adapter_ids, resolve
from promptpool.errors import PromptpoolError
from promptpool.study.plan import rows
from promptpool.study.study import Study
from sample_config import ROOT, demo, told


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def study(**changes) -> Study:
    return Study(resolve(demo(adapters__halves__seeds=[42, 7], **changes)))


def test_more_seeds_train_only_what_is_new():
    """The first seed keeps the adapter's name, files and recipe."""
    before, after = Study(resolve(demo())), study()
    assert before["adapters"]["halves"]["seed"] == after["adapters"]["halves"]["seed"] == 42
    assert before.adapter_spec("halves") == after.adapter_spec("halves") and "seeds" not in after.adapter_spec("halves")
    assert set(before.grid_jobs()) < set(after.grid_jobs())
    assert set(after.trainings()) - set(before.trainings()) == {"halves~7"}
    assert set(after.states()) - set(before.states()) == {("nano-docs", f"halves~7@{step}") for step in (20, 40, 80)}
    for name in before["ablations"]:
        if before["ablations"][name]["vary"] != "adapter":
            assert before.ablation_spec(name) == after.ablation_spec(name)


def test_another_seed_differs_by_its_seed_alone():
    first, second = (study().adapter_spec(name) for name in ("halves", "halves~7"))
    assert {key for key in first if first[key] != second[key]} == {"seed"} and second["seed"] == 7


def test_a_seeds_files_and_checks_are_its_own():
    after = study()
    assert after.adapter_path("halves~7@80") == "results/demo/adapters/halves~7/step-80"
    assert after.adapter_path("halves@80") == "results/demo/adapters/halves/step-80"
    assert "results/demo/checks/training_data/halves~7.json" in after.adapter_checks()
    assert after.adapter_pairs("halves~7") == after.adapter_pairs("halves")
    assert after.execution("adapters", "halves~7") == after.execution("adapters", "halves")
    assert adapter_of(after.config, "halves~7@20") == ("halves~7", 20)


def test_an_ablation_reads_every_seed_and_knows_the_first():
    after = study()
    (name,) = [name for name, spec in after["ablations"].items() if spec["vary"] == "adapter"]
    jobs = after.ablation_jobs(name)
    assert {"nano-docs/halves@20/all", "nano-docs/halves~7@20/all", "nano-docs/synthetic@20/all"} <= set(jobs)
    assert after.ablation_spec(name)["seeds"] == {"halves": 42}
    assert "seeds" not in Study(resolve(demo())).ablation_spec(name)


def test_the_first_seed_is_exported_mapped_and_looked_at():
    after = study(exports__docs_cluster={"model": "nano-docs", "adapter": "halves@80", "prompt": "cluster",
                                         "pooling": "last"})  # fmt: skip
    assert after.export_recipe("docs_cluster")["seed"] == 42
    assert not [adapter for _, adapter in after.attention_states() if "~" in adapter]
    assert "~" not in "".join(after.map_spec()["adapters"]) and "~" not in "".join(adapter_ids(after.config))


def test_the_plan_counts_every_training():
    few, many = ({row.stage: row for row in rows(one)} for one in (Study(resolve(demo())), study()))
    assert many["adapters"].jobs - few["adapters"].jobs == 3
    assert many["adapters"].flops == pytest.approx(1.5 * few["adapters"].flops)
    assert many["scores"].jobs - few["scores"].jobs == many["embeddings"].jobs - few["embeddings"].jobs == 3


def test_seed_and_seeds_may_not_disagree():
    line = told(demo(adapters__halves__seeds=[7, 1], adapters__halves__seed=1))
    assert line == "config.yaml: adapters.halves.seed: 1 is not the first of seeds, 7; remove seed"
    assert resolve(demo(adapters__halves__seeds=[7, 1]))["adapters"]["halves"]["seed"] == 7
    once = resolve(demo(adapters__halves__seeds=[7, 1]))
    assert resolve(once) == once


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1], "7", [2**32]])
def test_seeds_are_a_list_of_different_seeds(seeds):
    assert told(demo(adapters__halves__seeds=seeds)).startswith("config.yaml: adapters.halves.seeds: ")


def test_a_config_names_adapters_and_never_single_seeds():
    with pytest.raises(PromptpoolError, match=r"grid\.adapters: no adapter named 'halves~7'"):
        resolve(demo(adapters__halves__seeds=[42, 7], grid__adapters=["halves~7@20"], ablations={}))
    assert "cannot be part of a file path" in told(demo(**{"adapters.a~1": demo()["adapters"]["halves"]}))


def test_an_adapter_that_is_not_trained_here_has_no_seed():
    mean = {"model": "nano-docs", "mean_of": ["halves@20", "halves@80"], "prompt": "cluster", "pooling": "last",
            "steps": [1]}  # fmt: skip
    found = Study(resolve(demo(adapters__soup=mean))).first_seeds()
    assert "halves" in found and "soup" not in found
