"""What an edit makes run again, and nothing else, over the finished tiny study. One cache for two clones."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import tiny_study
import yaml
from tiny_study import REPOSITORY, TIMEOUT, jobs, snakemake_command, study

pytestmark = pytest.mark.workflow
# What is read from scores.parquet; `export_model` writes the headline into the model's card.
READS_SCORES = {
    "gather_scores": 1, "write_mteb_results": 1, "summarise_scores": 1, "draw_heat_map": 1, "draw_score_by_step": 1,
    "draw_cost_scores": 1, "build_report": 1, "export_model": 1, "check_parity": 1,
}  # fmt: skip
MAP = {"map_texts": 1, "draw_text_map": 1}  # of the first export's prompt and pooling
COUNT = {"measure_costs": 1}
STEPS = {"compare_ablation": 1, "draw_ablation": 1, "draw_tuned": 1}
BOTH_ABLATIONS = {**STEPS, "compare_ablation": 2, "draw_ablation": 2}
EMBED_ALL = {"embed_checkpoint": 3, "score_checkpoint": 3}  # base and two steps
TRAIN = {"train_adapter": 1, "unpack_adapter": 1, "check_training_data": 1, "draw_training_curves": 1}
DRAW_ATTENTION = {"draw_attention_bars": 1, "draw_attention_spans": 1, "draw_attention_layers": 1}
LOOK_AGAIN = {"measure_attention": 3, "summarise_attention": 1, **DRAW_ATTENTION}
RETRAINED = TRAIN | {"embed_checkpoint": 2, "score_checkpoint": 2} | LOOK_AGAIN | {"measure_attention": 2}


def clone(folder: Path) -> Path:
    """The repository's files that a run uses, with their times, as another checkout."""
    for part in ("Snakefile", "config.yaml", "workflow", "envs"):
        source = REPOSITORY / part
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / part)
    return folder


def run(folder: Path, *arguments: str, checkout: Path = REPOSITORY, config: dict | None = None, **environ: str) -> dict:
    """Rule -> jobs that Snakemake says it runs, with this checkout's code and config."""
    if config is not None:
        (folder / "study.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    command = [tiny_study.PYTHON, *snakemake_command(folder, *arguments)[1:]]
    command[command.index("--snakefile") + 1] = str(checkout / "Snakefile")
    environ = {**os.environ, "PYTHONPATH": str(checkout / "workflow"), **environ}
    if checkout == REPOSITORY and tiny_study.DIGESTS:  # a run with another checkout's code has kept its own
        (folder / ".snakemake/promptpool_code.json").write_text(tiny_study.DIGESTS[-1])
    answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False, env=environ)
    return jobs(answer)


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) >= 1, f"{path} no longer has {old!r}"
    path.write_text(text.replace(old, new, 1))


# --- edits of the config: study -> None --------------------------------------------------------------


def a_prompt_of_a_known_family(config: dict) -> None:
    config["prompts"]["sum"] = 'This sentence: "{text}" can be summarized as'
    config["grid"]["prompts"].append("sum")


def a_prompt_of_a_new_family(config: dict) -> None:
    config["prompts"]["ask"] = 'Which cluster is "{text}" in?'
    config["grid"]["prompts"].append("ask")


def a_prompt_that_nothing_uses(config: dict) -> None:
    config["prompts"]["ask"] = 'Which cluster is "{text}" in?'


def a_pooling(config: dict) -> None:
    config["grid"]["poolings"].append("max")


def the_temperature_of_training(config: dict) -> None:
    config["adapters"]["tuned"]["temperature"] = 0.1


def the_temperature_of_writing(config: dict) -> None:
    config["pairs"]["written"]["temperature"] = 0.9


def the_question_of_an_ablation(config: dict) -> None:
    config["ablations"]["steps"]["question"] = "How many steps?"


def the_order_of_keys(config: dict) -> None:
    def turned(value: object) -> object:
        return {key: turned(value[key]) for key in reversed(value)} if isinstance(value, dict) else value

    again = turned(config)
    config.clear()
    config.update(again)


def more_seeds(config: dict) -> None:
    config["adapters"]["tuned"]["seeds"] = [42, 7]


def the_device(config: dict) -> None:
    config |= {"device": "cpu", "jobs_per_gpu": 3, "fuse": False}


def a_batch_size(config: dict) -> None:
    config["backends"] = {"transformers": {"batch_size": 7}}
    config["pairs"]["written"]["shard_size"] = 11
    config["adapters"]["tuned"]["gradient_checkpointing"] = True


# The attention figure and the model card do not ask how a family is embedded: only what stands here runs again. A job
# of a checkpoint keeps the files that are still valid: the tests below look at what it computes.
CONFIG_EDITS = [
    (a_prompt_of_a_known_family, {
        **EMBED_ALL, **COUNT, **MAP, **BOTH_ABLATIONS, **READS_SCORES}),
    (a_prompt_of_a_new_family, {**EMBED_ALL, **COUNT, **MAP, **BOTH_ABLATIONS, **READS_SCORES}),
    (a_prompt_that_nothing_uses, {"build_report": 1}),
    (a_pooling, {**EMBED_ALL, **MAP, **BOTH_ABLATIONS, **READS_SCORES}),
    (the_temperature_of_training, {**RETRAINED, **MAP, **STEPS, **READS_SCORES}),
    (the_temperature_of_writing, {"make_pairs": 1, "select_pairs": 1, "draw_pairs_qc": 1, "build_report": 1}),
    (the_question_of_an_ablation, {"build_report": 1}),
    # The first seed is as it was: only the second is trained, embedded and scored.
    (more_seeds, {**TRAIN, "embed_checkpoint": 2, "score_checkpoint": 2, **STEPS, **READS_SCORES}),
    (the_order_of_keys, {}),
    (the_device, {}),
    (a_batch_size, {}),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "runs"), CONFIG_EDITS, ids=[edit.__name__ for edit, _ in CONFIG_EDITS])
def test_an_edit_of_the_config_runs(finished, edit, runs):
    config = study()
    edit(config)
    try:
        assert run(finished, "-n", config=config) == runs
    finally:
        (finished / "study.yaml").write_text(yaml.safe_dump(study(), sort_keys=False))


# --- edits of the code: path in the checkout, old text, new text -------------------------------------

P = "workflow/promptpool"
WIDE = {  # all but the heat map, which is as wide as it has columns
    "draw_ablation": 2, "draw_score_by_step": 1, "draw_training_curves": 1, "draw_pairs_qc": 1, **DRAW_ATTENTION,
    "draw_text_map": 1, "draw_cost_scores": 1, "draw_tuned": 1, "build_report": 1,
}  # fmt: skip
# test_code_digest.py edits every module; here a few edits go through Snakemake.
CODE_EDITS = {
    "a comment": (f"{P}/embedding/pooling.py", "\nimport ", "\n# Why not?\nimport ", {}),
    "a docstring": (f"{P}/training/rank.py", '"""', '"""Now: ', {}),
    "a hint of a type": (f"{P}/embedding/pooling.py", "-> Tensor:", "-> object:", {}),
    "an error of the hub": (f"{P}/hub/hub_errors.py", "is gated, and", "is behind a gate, and", {}),
    "an error of a stage": (f"{P}/embedding/embed_checkpoint.py", "no texts; check", "it holds no texts; check", {}),
    "a printed line": (f"{P}/training/trainer.py", "is damaged; training", "cannot be read; training", {}),
    "a field of a sidecar": (f"{P}/embedding/embed_checkpoint.py", "texts_resumed=", "resumed=", {}),
    "a function that nothing uses": (f"{P}/training/losses.py", "\ndef ", "\ndef new():\n    return 1\n\n\ndef ", {}),
    "how errors are told": (f"{P}/errors.py", "class", "NEW = 1\n\n\nclass", {}),
    "a pooling": (f"{P}/embedding/pooling.py", "mask.float().cumsum(-1)", "mask.float().cumsum(-1).sqrt()", {
        **EMBED_ALL, **MAP, **BOTH_ABLATIONS, **READS_SCORES}),  # training and attention do not pool with it
    "the texts of attention": (f"{P}/tasks/build_task.py", '{seed}:{text}")', '{seed}/{text}")', {
        **LOOK_AGAIN, **COUNT, "draw_cost_scores": 1, "build_report": 1}),
    "the loss": (f"{P}/training/losses.py", "def info_nce(", "def info_nce(temperature_too=1, *, ", {
        **RETRAINED, **MAP, **STEPS, **READS_SCORES}),
    "one plot": (f"{P}/figures/tuned.py", "\ndef tuned(", "\ndef tuned(more=1, *, ", {
        "draw_tuned": 1, "build_report": 1}),
    "the width of plots": (f"{P}/figures/style.py", "WIDTH = 7.0", "WIDTH = 7.5", WIDE),
    "a caption": (f"{P}/figures/registry.py", "caption=\"Mean", "caption=\"The mean", {"build_report": 1}),
    "the report's page": (f"{P}/report/templates/report.css", "{", "{ ", {"build_report": 1}),
    "a rule's log": ("workflow/rules/embeddings.smk", "logs/embed_checkpoint", "logs/embedding", {}),
}  # fmt: skip


@pytest.mark.parametrize(("path", "old", "new", "runs"), CODE_EDITS.values(), ids=CODE_EDITS)
def test_an_edit_of_the_code_runs(finished, tmp_path, path, old, new, runs):
    checkout = clone(tmp_path)
    edited(checkout / path, old, new)
    assert run(finished, "-n", checkout=checkout) == runs


# --- edits of files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["corpus.csv", "labelled.csv", "results/tiny/pairs/halves/written.parquet"])
def test_a_touched_file_runs_nothing(finished, tmp_path, path):
    folder = shutil.copytree(finished, tmp_path / "study", symlinks=True)
    os.utime(folder / path)
    assert run(folder, "-n") == {}


def test_a_changed_text_of_the_corpus_makes_pairs_anew(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "study")
    edited(folder / "corpus.csv", "the ", "The ")
    runs = run(folder, "-n")
    assert runs["build_corpus"] == 1 and runs["make_pairs"] == 2 and runs["train_adapter"] == 1


def test_a_changed_label_scores_anew(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "study")
    edited(folder / "labelled.csv", ",music", ",sailing")
    runs = run(folder, "-n", "scores")
    assert runs["build_task"] == 1 and runs["score_checkpoint"] == 3
    assert "train_adapter" not in runs


def computed_by(folder: Path, manifest: str) -> tuple[list[str], list[str]]:
    """What a job computed and what it kept."""
    told = json.loads((folder / f"results/tiny/{manifest}.json.meta.json").read_text())
    return told["computed"], told["kept"]


BARE, SENTENCE = "topics/no-prefix-e3b0c442", "topics/this-sentence-31debdc3"


def test_a_pooling_really_runs_what_the_table_says_and_then_nothing(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "study")
    config = study()
    a_pooling(config)
    target = "results/tiny/ablations/prompts.parquet"
    assert run(folder, target, config=config) == {"embed_checkpoint": 1, "score_checkpoint": 1, "compare_ablation": 1}
    assert computed_by(folder, "embeddings/small/base/all")[1] == []
    assert run(folder, target) == {}
    for path in (folder / "results/tiny/scores/small/base/topics").glob("*.parquet"):
        assert "max" in set(pd.read_parquet(path)["pooling"])


def test_a_prompt_of_a_new_family_computes_that_family_alone(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "study")
    config = study()
    a_prompt_of_a_new_family(config)
    run(folder, "results/tiny/ablations/prompts.parquet", config=config)
    ((new,), kept) = computed_by(folder, "embeddings/small/base/all")
    assert new.startswith("topics/which-cluster") and kept == [f"{BARE}.safetensors", f"{SENTENCE}.safetensors"]
    new, kept = computed_by(folder, "scores/small/base/all")
    assert all(name.startswith("topics/which-cluster") for name in new) and len(new) == 2
    assert kept == [f"{name}{end}" for name in (BARE, SENTENCE) for end in (".parquet", ".results.jsonl")]


def test_a_new_task_computes_its_new_texts_and_a_changed_label_no_vector(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "study")
    config = study()
    lines = (folder / "labelled.csv").read_text().splitlines()
    (folder / "more.csv").write_text("\n".join([*lines[:20], "something new,music", "and old,cooking"]) + "\n")
    config["tasks"]["more"] = {"source": "file", "path": "more.csv"}
    edited(folder / "labelled.csv", ",music", ",sailing")
    run(folder, "results/tiny/ablations/prompts.parquet", config=config)
    new, kept = computed_by(folder, "embeddings/small/base/all")
    assert {name.partition("/")[0] for name in new} == {"more"} and len(kept) == 2
    told = json.loads((folder / f"results/tiny/embeddings/small/base/{new[0]}.meta.json").read_text())
    assert told["texts"] - told["texts_copied"] == 2
    new, kept = computed_by(folder, "scores/small/base/all")
    assert {name.partition("/")[0] for name in new} == {"more", "topics"} and kept == []


def test_a_killed_job_of_a_checkpoint_keeps_its_finished_files(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "study")
    place = folder / "results/tiny/embeddings/small/base"
    for path in (place / "all.json", place / f"{SENTENCE}.safetensors"):
        path.unlink()
    run(folder, "results/tiny/embeddings/small/base/all.json")
    assert computed_by(folder, "embeddings/small/base/all") == ([f"{SENTENCE}.safetensors"], [f"{BARE}.safetensors"])


@pytest.mark.parametrize(
    "damaged", [f"embeddings/small/base/{SENTENCE}.safetensors", f"scores/small/base/{BARE}.parquet"]
)
def test_a_rebuild_of_a_damaged_file_runs_its_job_alone_and_then_nothing(finished, tmp_path, damaged):
    folder = shutil.copytree(finished, tmp_path / "study")
    path = folder / "results/tiny" / damaged
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    run_again = [tiny_study.PYTHON, *snakemake_command(folder)[1:]]
    command = [sys.executable, "-m", "promptpool.runtime.rebuild", "results/tiny", "--", *run_again]
    environ = {**os.environ}  # without what readline sets for C libraries alone, and tests' forks do not have
    answer = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "1 of 1 steps" in answer.stdout + answer.stderr
    stage, name = damaged.partition("/small/base/")[::2]
    assert name in computed_by(folder, f"{stage}/small/base/all")[0]
    assert path.read_bytes() == (finished / "results/tiny" / damaged).read_bytes()
    assert run(folder, "-n") == {}


def test_finer_jobs_keep_what_is_there(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "study")
    config = study()
    config["grid"]["jobs"] = "task"
    target = "results/tiny/ablations/prompts.parquet"
    assert run(folder, target, config=config) == {"embed_checkpoint": 1, "score_checkpoint": 1, "compare_ablation": 1}
    for stage in ("embeddings", "scores"):
        assert computed_by(folder, f"{stage}/small/base/topics")[0] == []


# --- between workflows -------------------------------------------------------------------------------

ONCE = ("make_pairs", "train_adapter")


@pytest.fixture(scope="module")
def two_clones(prepare, tmp_path_factory) -> tuple[Path, Path]:
    """Two checkouts, each with its own files, that ran the same small study after each other with one cache."""
    room = tmp_path_factory.mktemp("clones")
    (room / "cache").mkdir()
    config = study()
    config["pairs"].pop("halves")
    config["adapters"]["tuned"] |= {"pairs": ["written"], "steps": [4]}
    config["grid"] |= {"prompts": ["cluster"], "poolings": ["last"]}
    config["baselines"].pop("random")
    for section in ("ablations", "attention", "exports"):
        config.pop(section)
    folders = []
    for name in ("first", "second"):
        folder = prepare(clone_in(room / name))
        run(folder, "scores", "--cache", checkout=folder, config=config, SNAKEMAKE_OUTPUT_CACHE=str(room / "cache"))
        folders.append(folder)
    return tuple(folders)


def clone_in(folder: Path) -> Path:
    folder.mkdir()
    return clone(folder)


def computed(folder: Path, rule: str) -> list[Path]:
    """Logs with something in them: a job that is taken from the cache says nothing."""
    return sorted(path for path in (folder / "results/tiny/logs" / rule).rglob("*.log") if path.stat().st_size)


@pytest.mark.parametrize("rule", ONCE)
def test_two_clones_with_one_cache_compute_it_once(two_clones, rule):
    first, second = two_clones
    assert computed(first, rule)
    assert computed(second, rule) == []


def test_the_second_clone_embeds_nothing(two_clones):
    first, second = two_clones
    path = "results/tiny/embeddings/small/base"
    (name,) = computed_by(first, "embeddings/small/base/all")[0]
    assert computed_by(second, "embeddings/small/base/all") == ([], [name])
    assert (first / path / name).samefile(second / path / name)


@pytest.mark.parametrize("path", ["pairs/written/written.parquet", "pairs/written/pairs.parquet", "adapters/tuned.tar"])
def test_both_clones_read_one_file(two_clones, path):
    first, second = (folder / "results/tiny" / path for folder in two_clones)
    assert first.samefile(second)


def test_both_clones_have_the_same_scores_and_sidecars(two_clones):
    first, second = (folder / "results/tiny" for folder in two_clones)
    pd.testing.assert_frame_equal(*(pd.read_parquet(one / "scores.parquet") for one in (first, second)))
    for path in ("pairs/written/pairs.parquet", "adapters/tuned", "checks/training_data/tuned.json"):
        told = [json.loads((one / f"{path}.meta.json").read_text()) for one in (first, second)]
        assert told[0]["digest"] == told[1]["digest"]


def test_what_a_clone_took_from_the_cache_runs_nothing_again_in_either(two_clones):
    for folder in two_clones:
        environ = {"SNAKEMAKE_OUTPUT_CACHE": str(folder.parent / "cache")}
        assert run(folder, "-n", "scores", "--cache", checkout=folder, **environ) == {}
        assert run(folder, "-n", "scores", checkout=folder) == {}
