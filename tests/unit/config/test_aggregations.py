"""Post-processings and aggregations in a config: what is refused, and what a study without them keeps."""

import pytest
from promptpool.config.resolve import resolve
from promptpool.study.study import Study
from sample_config import ROOT, demo, told

HALF = "soft-whiten(0.5)"
TWO = {"parts": [{"pooling": "last", "post_processing": HALF}, {"pooling": "weighted", "layer": 1}]}
FIXED = {"model": "nano-docs", "adapter": "base", "prompt": "cluster", "layer": -1}


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def asked(**changes: object) -> dict:
    return demo(**{"grid__layers": [-1, 1], "grid__post_processing": ["none", HALF], "aggregations": {"two": TWO},
                   **changes})  # fmt: skip


BAD = {
    "unknown post-processing": (
        {"grid__post_processing": ["whiten"]},
        "grid.post_processing: unknown post-processing 'whiten'; use one of none, center, zscore, soft-whiten(0.5), "
        "remove-top(1)",
    ),
    "power above 1": ({"grid__post_processing": ["soft-whiten(2)"]}, "grid.post_processing: unknown post-processing "),
    "no axis": ({"grid__post_processing": ["remove-top(0)"]}, "grid.post_processing: unknown post-processing "),
    "a part's post-processing": (
        {"aggregations": {"a": {"parts": [{"pooling": "last", "post_processing": "centre"}]}}},
        "aggregations.a.parts: unknown post-processing 'centre'",
    ),
    "a pooling's name": ({"aggregations": {"mean": TWO}}, "aggregations.mean: 'mean' is the name of a pooling; choose"),
    "a part that is not in the grid": (
        {"grid__layers": [-1]}, "aggregations.two.parts: layer 1 is not in the grid; use one of -1 ",
    ),
    "a pooling that is not in the grid": (
        {"aggregations": {"a": {"parts": [{"pooling": "max"}]}}},
        "aggregations.a.parts: pooling 'max' is not in the grid; use one of mean, last, eos, weighted, attention",
    ),
    "no part": ({"aggregations": {"a": {"parts": []}}}, "aggregations.a.parts: [] is empty; give at least 1"),
    "unknown corpus": ({"fitting": {"corpora": ["docs"]}}, "fitting.corpora: no corpus named 'docs' in corpora; "),
    "nothing to fit on": (
        {"pairs": {}, "adapters": {}, "exports": {}, "ablations": {}},
        "fitting.corpora: missing; without pairs there are no texts to fit on; use one of docstrings",
    ),
    "varied and not there": (
        {"ablations": {"p": {"vary": "post_processing", "baseline": "center", "fixed": {**FIXED, "pooling": "last"}}}},
        "ablations.p.baseline: post_processing 'center' is not in the grid; use one of none, soft-whiten(0.5)",
    ),
    "fixed and not there": (
        {"ablations": {"p": {"vary": "pooling", "baseline": "mean", "fixed": {**FIXED, "post_processing": "center"}}}},
        "ablations.p.fixed.post_processing: post_processing 'center' is not in the grid",
    ),
    "an export that is not linear": (
        {"exports__docs-cluster__pooling": "two"},
        "exports.docs-cluster.pooling: aggregation 'two' can't be exported: its scale is text",
    ),
    "an export of an unknown pooling": (
        {"exports__docs-cluster__pooling": "tow"},
        "exports.docs-cluster.pooling: unknown pooling 'tow'; use one of mean, last, eos, weighted, max, concat, two",
    ),
    "an export's layer": (
        {"aggregations": {"two": {**TWO, "scale": "corpus"}}, "exports__docs-cluster__pooling": "two",
         "exports__docs-cluster__layer": 1},
        "exports.docs-cluster.pooling: aggregation 'two' can't be exported: its parts have their own layer",
    ),
    "an export beside its base": (
        {"aggregations": {"two": {**TWO, "scale": "corpus"}}, "exports__docs-cluster__pooling": "two",
         "exports__docs-cluster__merged": False},
        "exports.docs-cluster: a post-processing computes in float32; write merged: true and dtype: float32",
    ),
    "an export without statistics": (
        {"exports__docs-cluster__post_processing": "center"},
        "exports.docs-cluster.post_processing: 'center' is not in the grid, so its statistics are not fitted; "
        "add it to grid",
    ),
    "an export's post-processing": (
        {"exports__docs-cluster__post_processing": "whitened"},
        "exports.docs-cluster.post_processing: unknown post-processing 'whitened'",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "line"), BAD.values(), ids=BAD)
def test_a_fault_names_its_key_and_says_what_to_do(changes, line):
    assert told(asked(**changes)).startswith(f"config.yaml: {line}")


def test_readouts_are_the_grids_post_processed_poolings_then_the_aggregations():
    study = Study(resolve(asked(grid__poolings=["last", "weighted"], exports={}, ablations={})))
    assert [(one["name"], one["layer"]) for one in study.readouts()] == [
        (f"last+{HALF}", -1), (f"last+{HALF}", 1), (f"weighted+{HALF}", -1), (f"weighted+{HALF}", 1), ("two", -1),
    ]  # fmt: skip
    assert study.readouts()[-1]["parts"][1] == {
        "pooling": "weighted", "layer": 1, "post_processing": "none", "weight": 1,
    }  # fmt: skip
    assert study.fitted_readouts() == [["last", -1], ["last", 1], ["weighted", -1], ["weighted", 1]]


def test_the_texts_come_from_the_pairs_or_from_named_corpora():
    assert list(Study(resolve(asked())).fitting_sources()) == ["pairs.continue", "pairs.halves"]
    study = Study(resolve(asked(fitting={"corpora": ["docstrings"]})))
    assert study.fitting_sources() == {"corpora.docstrings": "results/demo/corpora/docstrings.parquet"}


@pytest.mark.parametrize(("jobs", "share"), [("checkpoint", "all"), ("task", "_fitting")])
def test_the_fitting_texts_are_embedded_once_a_checkpoint(jobs, share):
    study = Study(resolve(asked(grid__jobs=jobs)))
    found = study.vectors_of_texts("_fitting", "nano-docs", "base")
    assert found == f"results/demo/embeddings/nano-docs/base/{share}.json"
    shares = [*study.shares(), *({share} - set(study.shares()))]
    assert [task for one in shares for task in study.embedded_tasks(one)].count("_fitting") == 1
    assert study.embedded_files(share)[-1] == "results/demo/fitting/texts.parquet"


def test_an_export_takes_the_statistics_of_its_own_checkpoint_and_family():
    study = Study(resolve(asked(exports__second={"model": "nano-docs", "adapter": "halves@80", "prompt": "cluster",
                                                 "pooling": "last", "post_processing": HALF})))  # fmt: skip
    assert study.export_statistics("docs-cluster") == [] and study.export_params("docs-cluster") == {}
    assert study.export_statistics("second") == ["results/demo/statistics/nano-docs/halves@80/fitted.json"]
    found = study.export_params("second")
    assert found["readout"] == next(
        one for one in study.readouts() if one["name"] == f"last+{HALF}" and one["layer"] == -1
    )
    assert found["family"].removesuffix(".safetensors") in study.families


def test_a_study_without_readouts_keeps_every_job_file_and_param():
    """Even if it names corpora to fit on."""
    study = Study(resolve(demo(fitting={"corpora": ["docstrings"], "texts": 500})))
    assert study.readouts() == [] and study.readout_scores(study.grid_jobs()) == []
    for share in study.shares():
        assert study.embedded_tasks(share) == study.share_tasks(share)
        assert study.embedded_files(share) == study.task_files(share, "texts.parquet")
    assert not {"aggregations", "fitting"} & set(study.shown())
    assert "post_processing" not in study.shown()["grid"]
    assert "post_processing" not in study.export_spec("docs-cluster")
    assert "post_processing" not in study.grid_spec()
    for name in study["ablations"]:
        assert study.ablation_parts(name) == [f"results/demo/scores/{job}.json" for job in study.ablation_jobs(name)]
        assert "post_processing" not in study.ablation_spec(name)["fixed"]


@pytest.mark.parametrize(
    ("ablation", "reads"),
    [
        ({"vary": "post_processing", "baseline": "none", "fixed": {**FIXED, "pooling": "last"}}, True),
        ({"vary": "pooling", "baseline": "last", "fixed": FIXED}, True),
        ({"vary": "pooling", "baseline": "last", "values": ["mean"], "fixed": FIXED}, False),
        ({"vary": "pooling", "baseline": "last", "values": ["mean"],
          "fixed": {**FIXED, "post_processing": HALF}}, True),
        ({"vary": "prompt", "baseline": "none", "fixed": {"model": "nano-docs", "adapter": "base", "pooling": "two",
                                                          "layer": -1}}, True),
        ({"vary": "layer", "baseline": -1, "fixed": {"model": "nano-docs", "adapter": "base", "pooling": "last",
                                                     "prompt": "cluster"}}, False),
    ],
)  # fmt: skip
def test_an_ablation_reads_readouts_only_if_it_compares_one(ablation, reads):
    study = Study(resolve(asked(ablations={"one": ablation})))
    assert any("readout_scores" in path for path in study.ablation_parts("one")) == reads


@pytest.mark.parametrize(
    ("spec", "reads"),
    [
        ({"vary": ["prompt", "post_processing"], "baseline": {"prompt": "none", "post_processing": "none"}}, True),
        ({"vary": ["prompt", "pooling"], "baseline": {"prompt": "none", "pooling": "mean"}}, True),
        ({"vary": ["prompt", "pooling"], "baseline": {"prompt": "none", "pooling": "mean"},
          "values": {"pooling": ["last"]}}, False),
        ({"vary": ["prompt", "pooling"], "baseline": {"prompt": "none", "pooling": "two"},
          "values": {"pooling": ["last"]}}, True),
    ],
)  # fmt: skip
def test_a_table_of_two_axes_reads_the_readouts_scores_if_it_compares_one(spec, reads):
    fixed = {key: value for key, value in {**FIXED, "pooling": "last"}.items() if key not in spec["vary"]}
    study = Study(resolve(asked(ablations={"table": {**spec, "fixed": fixed}})))
    assert any("/readout_scores/" in part for part in study.ablation_parts("table")) == reads
