"""Which corpora an export's list of materials names: those of its adapter's pairs, and those that it was fitted on."""

import pytest
from promptpool.config.resolve import resolve
from promptpool.study.study import Study
from sample_config import ROOT, demo


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def exported(adapter: str, **changes) -> list[str]:
    spec = {"model": "nano-docs", "adapter": adapter, "prompt": "cluster", "pooling": "last", **changes.pop("spec", {})}
    more = {"source": "docstrings", "packages": ["yaml"], "labelled": [], "task_share": 0}
    given = demo(exports={"one": spec}, corpora__more=more, pairs__continue__corpus="more", **changes)
    return Study(resolve(given)).export_corpora("one")


def test_an_adapters_corpora_are_those_of_its_pairs():
    assert exported("base") == []
    assert exported("halves@80") == ["results/demo/corpora/docstrings.parquet"]
    assert exported("synthetic@80") == ["results/demo/corpora/more.parquet"]


def test_a_mean_has_the_corpora_of_its_members():
    mean = {"model": "nano-docs", "mean_of": ["halves@80", "synthetic@80"], "steps": [1], "prompt": "cluster",
            "pooling": "last"}  # fmt: skip
    assert exported("mixed@1", adapters__mixed=mean) == [
        "results/demo/corpora/docstrings.parquet", "results/demo/corpora/more.parquet",
    ]  # fmt: skip


def test_fitted_statistics_are_of_texts_too():
    fitted = {"spec": {"post_processing": "center"}, "grid__post_processing": ["none", "center"]}
    assert len(exported("base", **fitted)) == 2
    assert exported("base", **fitted, fitting={"corpora": ["more"]}) == ["results/demo/corpora/more.parquet"]


def test_an_exports_scores_are_its_checkpoints():
    spec = {"model": "nano-docs", "adapter": "halves@80", "prompt": "cluster", "pooling": "last"}
    study = Study(resolve(demo(exports={"one": spec, "two": {**spec, "adapter": "base"}})))
    assert study.export_scores("one") == ["results/demo/scores/nano-docs/halves@80/all.json"]
    assert study.export_scores("two") == ["results/demo/scores/nano-docs/base/all.json"]
    given = {"exports": {"one": {**spec, "post_processing": "center"}}, "grid__post_processing": ["none", "center"]}
    assert Study(resolve(demo(**given))).export_scores("one") == [
        "results/demo/readout_scores/nano-docs/halves@80/all.json"
    ]
