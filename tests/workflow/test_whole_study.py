"""The whole tiny study, run once for real: what comes out, and what a second run does."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import load_file
from tiny_study import jobs, snakemake, study

pytestmark = pytest.mark.workflow
COLUMNS = (
    "model adapter step seed prompt pooling layer task split subset level experiment metric value replicates".split()  # noqa: SIM905
)


@pytest.fixture(scope="module")
def scores(finished) -> pd.DataFrame:
    return pd.read_parquet(finished / "results/tiny/scores.parquet")


def test_scores_have_exactly_the_designed_columns(scores):
    assert list(scores.columns) == COLUMNS


def test_every_variant_has_ten_experiments_of_each_metric(scores):
    replicates = scores["metric"] == "main_score_bootstrap"
    assert {len(values) for values in scores.loc[replicates, "replicates"]} == {200}
    variants = scores[(scores["adapter"] != "baseline") & ~replicates]
    counts = variants.groupby(["adapter", "step", "prompt", "pooling", "layer", "metric"]).size()
    assert len(counts) == 3 * 3 * 5 * 3  # base and two steps, prompts, poolings, metrics
    assert (counts == 10).all()


def test_baselines_are_rows_of_the_same_table(scores):
    rows = scores[scores["adapter"] == "baseline"]
    assert set(rows["model"]) == {"random", "tfidf-svd"}
    assert set(rows["prompt"]) == set(rows["pooling"]) == {"none"}


def test_scores_have_no_gap_and_stay_in_range(scores):
    assert scores["value"].notna().all()
    assert scores.loc[scores["metric"] == "v_measure", "value"].between(0, 1).all()


def test_mtebs_own_files_hold_the_same_scores(finished, scores):
    from promptpool.tasks.encoders import LookupEncoder  # noqa: F401  (sets MTEB_CACHE before mteb is imported)

    # isort: split
    import mteb

    loaded = mteb.ResultCache(finished / "results/tiny/mteb").load_results().model_results
    found = {(m.model_name, m.model_revision): r.get_score() for m in loaded for r in m.task_results}
    tuned = scores[(scores["metric"] == "main_score") & (scores["adapter"] == "tuned") & (scores["step"] == 4)]
    tuned = tuned[(tuned["prompt"] == "cluster") & (tuned["pooling"] == "last")]
    assert found["promptpool/small.cluster.last.L-1", "tuned@4"] == pytest.approx(tuned["value"].mean(), abs=1e-6)
    assert len(found) == 3 * 3 * 5 + 3 + 1  # variants, seeds of the random floor, TF-IDF


def test_an_ablation_alone_makes_what_it_compares_and_nothing_else(finished, tmp_path):
    config = {**study(), "run": "other"}
    try:
        counts = jobs(snakemake(finished, "-n", "results/other/ablations/prompts.parquet", config=config))
    finally:
        (finished / "study.yaml").write_text(yaml.safe_dump(study(), sort_keys=False))
    assert counts == {"compare_ablation": 1, "build_task": 1, "embed_checkpoint": 1, "score_checkpoint": 1}


def test_tuning_changes_the_vectors(finished):
    base, tuned = (
        load_file(
            next((finished / f"results/tiny/embeddings/small/{adapter}/topics").glob("this-sentence*.safetensors"))
        )
        for adapter in ("base", "tuned@4")
    )
    assert np.abs(base["cluster/last/-1"] - tuned["cluster/last/-1"]).max() > 1e-3


def test_both_pair_sets_come_with_what_was_rejected(finished):
    for name in ("halves", "written"):
        folder = finished / f"results/tiny/pairs/{name}"
        pairs, rejected = pd.read_parquet(folder / "pairs.parquet"), pd.read_parquet(folder / "rejected.parquet")
        qc = json.loads((folder / "qc.json").read_text())
        assert list(pairs.columns) == ["text", "positive", "style", "source_id"]
        assert qc["asked"] == len(pairs) + len(rejected) == len(pd.read_parquet(folder / "written.parquet"))
        assert set(qc["styles"]) == set(study()["pairs"][name]["styles"])


def test_every_artifact_has_a_sidecar_with_its_digest(finished):
    results = finished / "results/tiny"
    artifacts = [*results.rglob("*.parquet"), *results.rglob("*.safetensors"), results / "report.html"]
    own = [path for path in artifacts if not {"adapters", "models", "shards"} & set(path.parts)]
    directories = [results / "adapters/tuned", results / "models/out"]
    beside = [path for path in [*own, *directories] if path.name not in ("rejected.parquet",)]
    missing = [str(path) for path in beside if not path.with_name(path.name + ".meta.json").exists()]
    assert missing == []


def test_a_sidecar_keeps_the_rendered_prompt_and_its_ids(finished):
    sidecar = next((finished / "results/tiny/embeddings/small/base/topics").glob("this-sentence*.meta.json"))
    prompt = json.loads(sidecar.read_text())["prompts"]["cluster"]
    assert prompt["template"] == study()["prompts"]["cluster"]
    assert len(prompt["ids"]) > 3


def test_the_exported_model_loads_with_one_line_and_gives_the_pipelines_vectors(finished):
    results = finished / "results/tiny"
    text = pd.read_parquet(results / "tasks/topics/texts.parquet")["text"][0]
    code = (
        "import json, sys; from sentence_transformers import SentenceTransformer\n"
        "print(json.dumps(SentenceTransformer(sys.argv[1]).encode(sys.argv[2]).tolist()))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, str(results / "models/out"), text], capture_output=True, text=True, check=True
    )
    theirs = np.array(json.loads(answer.stdout.splitlines()[-1]))
    ours = load_file(next((results / "embeddings/small/tuned@4/topics").glob("this-sentence*.safetensors")))
    ours = ours["cluster/last/-1"][0]
    assert theirs @ ours / np.linalg.norm(theirs) / np.linalg.norm(ours) > 0.9999


def test_the_attention_table_has_every_checkpoint_and_sums_to_one(finished):
    table = pd.read_parquet(finished / "results/tiny/attention.parquet")
    assert set(zip(table["adapter"], table["step"], strict=True)) == {("base", 0), ("tuned", 2), ("tuned", 4)}
    spans = ["sink", "prefix", "content", "function", "suffix", "itself"]
    np.testing.assert_allclose(table[spans].sum(axis=1), 1, atol=1e-4)
    moved = pd.read_parquet(finished / "results/tiny/attention_summary.parquet").query("span == 'content'")
    assert moved.groupby(["adapter", "step"])["estimate"].count().to_dict() == {
        ("base", 0): 0, ("tuned", 2): 3, ("tuned", 4): 3  # two layers and their mean
    }  # fmt: skip


def test_the_report_is_one_file_with_the_headline(finished):
    page = (finished / "results/tiny/report.html").read_text()
    assert "best tuned" in page
    assert '<img src="http' not in page and "<script src" not in page


def test_the_summary_names_floors_and_gains(finished):
    text = (finished / "results/tiny/summary.txt").read_text()
    for row in ("random", "tfidf-svd", "best untuned", "best tuned", "report.html"):
        assert row in text


def test_nothing_temporary_is_left(finished):
    results = finished / "results/tiny"
    assert [str(path) for path in results.rglob("*") if ".tmp" in path.name or path.name.endswith(".scratch")] == []


def test_the_next_snakemake_has_every_digest_also_those_that_params_ask_for_after_all_rules(finished):
    assert jobs(snakemake(finished, "-n", config=study())) == {}
    kept = json.loads((finished / ".snakemake/promptpool_code.json").read_text())["digests"]
    assert {name.partition(" ")[0] for name in kept} >= {"embed_checkpoint", "draw", "make_pairs", "select_pairs"}


def test_a_second_run_does_nothing(finished):
    answer = snakemake(finished)
    assert answer.returncode == 0
    assert "Nothing to be done" in answer.stdout + answer.stderr


def test_a_new_prompt_in_a_known_family_embeds_that_family_alone(finished):
    config = study()
    config["prompts"]["sum"] = 'This sentence: "{text}" can be summarized as'
    config["grid"]["prompts"].append("sum")
    counts = planned(finished, config)
    assert counts["embed_checkpoint"] == counts["score_checkpoint"] == 3  # base and two steps
    assert not {"train_adapter", "make_pairs", "build_task", "measure_attention"} & set(counts)


def test_a_new_task_is_embedded_and_checked_and_trains_nothing(finished):
    config = study()
    config["tasks"]["again"] = {"source": "file", "path": "labelled.csv"}
    counts = planned(finished, config)
    assert counts["embed_checkpoint"] == 3 and counts["check_training_data"] == 1
    assert not {"train_adapter", "make_pairs", "select_pairs"} & set(counts)


def test_other_contamination_rules_select_and_train_again_and_write_nothing(finished):
    config = study()
    config["pairs"]["halves"]["contamination"] = {"near": None}
    counts = planned(finished, config)
    assert counts["select_pairs"] == counts["train_adapter"] == 1 and "make_pairs" not in counts


def test_the_size_of_shards_and_how_a_backend_is_run_rerun_nothing(finished):
    config = study()
    config["pairs"]["written"]["shard_size"] = 7
    config["backends"] = {"transformers": {"batch_size": 3}}
    assert planned(finished, config) == {}


def test_a_task_whose_text_an_adapter_has_learned_stops_the_run_before_scores(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "study")
    seen = pd.read_parquet(folder / "results/tiny/pairs/halves/pairs.parquet")["text"].head(9)
    seen.to_frame().assign(label=["a", "b", "c"] * 3).to_csv(folder / "seen.csv", index=False)
    config = study()
    config["tasks"]["seen"] = {"source": "file", "path": "seen.csv"}
    answer = snakemake(folder, "scores", config=config)
    text = answer.stdout + answer.stderr
    assert answer.returncode != 0
    pairs = "results/tiny/pairs/halves/pairs.parquet"
    told = [line for line in text.splitlines() if line.startswith(f"Error: {pairs}: 9 pairs hold a text of task seen")]
    assert len(told) == 1, text
    (folder / pairs).unlink()
    answer = snakemake(folder, "scores", config=config)
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]
    counted = json.loads((folder / "results/tiny/pairs/halves/qc.json").read_text())["contamination"]["tasks"]
    assert counted == {"seen": 9}


def test_another_temperature_trains_again_and_keeps_the_pairs(finished):
    config = study()
    config["adapters"]["tuned"]["temperature"] = 0.1
    counts = planned(finished, config)
    assert counts["train_adapter"] == 1
    assert counts["embed_checkpoint"] == 2  # two steps; base stays
    assert "make_pairs" not in counts


def test_the_order_of_keys_reruns_nothing(finished):
    def turned(value):
        return {key: turned(value[key]) for key in reversed(value)} if isinstance(value, dict) else value

    assert planned(finished, turned(study())) == {}


def test_the_device_reruns_nothing(finished):
    assert planned(finished, {**study(), "device": "cpu"}) == {}


def test_another_dtype_embeds_and_trains_again(finished):
    counts = planned(finished, {**study(), "dtype": "bfloat16"})
    assert counts["embed_checkpoint"] == 3
    assert counts["train_adapter"] == 1  # the base it learns on is rounded


def planned(folder, config: dict) -> dict[str, int]:
    """What a dry run with another config would do; the finished study's own config is put back."""
    try:
        return jobs(snakemake(folder, "-n", config=config))
    finally:
        (folder / "study.yaml").write_text(yaml.safe_dump(study(), sort_keys=False))
