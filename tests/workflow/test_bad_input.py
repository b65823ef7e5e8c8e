"""Bad input is answered in one line that names it, before any job starts."""

import pandas as pd
import pytest
import yaml
from tiny_study import REPOSITORY, snakemake, study

pytestmark = pytest.mark.workflow


def change(config: dict, dotted: str, value: object) -> dict:
    *path, last = dotted.split("/")
    place = config
    for key in path:
        place = place[key]
    place[last] = value
    return config


@pytest.mark.parametrize(
    ("dotted", "value", "told"),
    [
        ("adapters/tuned/temprature", 0.1, ["adapters.tuned.temprature", "temperature"]),
        ("prompts/eol", "no slot", ["prompts.eol", "{text} once, or twice to echo", "it has 0"]),
        ("prompts/eol", "{text}, {text} and {text}", ["prompts.eol", "it has 3"]),
        ("grid/poolings", ["mean", "lst"], ["grid.poolings", "lst", "last"]),
        ("adapters/tuned/pairs", ["absent"], ["adapters.tuned.pairs", "absent", "halves"]),
        ("adapters/tuned/steps", [2, 9], ["adapters.tuned", "9", "4"]),
        ("tasks/topics/label", "category", ["tasks.topics", "labelled.csv", "category"]),
        ("tasks/topics/path", "empty.csv", ["tasks.topics", "empty.csv", "no rows"]),
        ("tasks/topics/path", "one.csv", ["tasks.topics", "one.csv", "only"]),
        ("models/small/path", "./absent", ["models.small", "./absent"]),
        ("adapters/tuned/lora", {"target_modules": ["q_proj", "vproj"]}, ["adapters.tuned", "is called vproj"]),
        ("adapters/tuned/lora", {"target_modules": "qproj"}, ["tuned.lora.target_modules", "all-linear"]),
    ],
)
def test_bad_input_is_told_in_one_line_before_any_job(prepared, dotted, value, told):
    answer = snakemake(prepared, config=change(study(), dotted, value))
    text = answer.stdout + answer.stderr
    lines = [line for line in text.splitlines() if all(part in line for part in told)]
    assert answer.returncode != 0
    assert len(lines) == 1, text
    assert "Traceback" not in text
    assert not (prepared / "results").exists()


def test_the_paper_without_a_hub_says_so_in_one_line_and_points_at_the_demo(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    answer = snakemake(tmp_path, config=paper())
    text = answer.stdout + answer.stderr
    assert answer.returncode != 0
    assert sum("make demo" in line and "hub" in line for line in text.splitlines()) == 1, text
    assert "Traceback" not in text
    assert not list(tmp_path.rglob("*.parquet"))


def test_the_paper_builds_its_dag_without_a_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    answer = snakemake(tmp_path, "-n", "--quiet", config=paper())
    assert answer.returncode == 0, answer.stdout + answer.stderr


def paper() -> dict:
    return yaml.safe_load((REPOSITORY / "config.yaml").read_text())


@pytest.fixture(scope="module")
def prepared(prepare, tmp_path_factory):
    folder = prepare(tmp_path_factory.mktemp("bad") / "study")
    pd.DataFrame({"text": [], "label": []}).to_csv(folder / "empty.csv", index=False)
    pd.DataFrame({"text": ["a b", "c d"], "label": ["x", "x"]}).to_csv(folder / "one.csv", index=False)
    return folder


def test_a_study_can_be_told_to_stop_where_a_training_text_is_also_a_tasks(prepare, tmp_path):
    folder = prepare(tmp_path / "study")
    shared = pd.read_csv(folder / "labelled.csv")["text"].str.upper() + "!"
    corpus = pd.read_csv(folder / "corpus.csv")
    pd.DataFrame({"text": [*corpus["text"], shared[0]]}).to_csv(folder / "corpus.csv", index=False)
    pairs = {"corpus": "lines", "styles": ["identity"], "contamination": {"action": "fail"}}
    answer = snakemake(folder, "adapters", config=change(study(), "pairs/halves", pairs))
    text = answer.stdout + answer.stderr
    assert answer.returncode != 0
    told = [line for line in text.splitlines() if line.startswith("Error: pairs.halves: 1 pairs hold a task's text")]
    assert len(told) == 1, text
    assert not (folder / "results/tiny/adapters/tuned").exists()
