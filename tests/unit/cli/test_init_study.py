"""`promptpool init`: what it finds in a file, what it writes, and what it refuses, in one line each."""

import gzip
import random
from pathlib import Path

import pandas as pd
import pytest
import yaml
from promptpool.cli import from_scratch
from promptpool.cli.command import main
from promptpool.cli.find_columns import columns_of, label_column, text_column
from promptpool.cli.study_defaults import pair_styles, training_defaults
from promptpool.cli.study_text import SCHEMA_COPY
from promptpool.cli.text_facts import text_facts
from promptpool.config.resolve import resolve

WORDS = [
    "river",
    "mountain",
    "server",
    "invoice",
    "violin",
    "orbit",
    "garden",
    "senate",
    "protein",
    "harbour",
    "recipe",
    "glacier",
]
TOPICS = ("nature", "office", "music")


def texts(count: int = 240, words: int = 9) -> list[str]:
    draw = random.Random(3)
    return [" ".join(["the", *draw.choices(WORDS, k=words - 2), f"is {number}"]) for number in range(count)]


def table(count: int = 240) -> pd.DataFrame:
    """Texts between columns that are none: an id, a number, an address, a date."""
    rows = range(count)
    return pd.DataFrame({
        "id": [f"a{row:04}" for row in rows], "score": [row / 7 for row in rows],
        "link": [f"https://example.org/{row}" for row in rows], "body": texts(count),
        "day": [f"2026-01-{row % 28 + 1:02}" for row in rows], "topic": [TOPICS[row % 3] for row in rows],
    })  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(path: str = "study.yaml") -> dict:
    text = Path(path).read_text(encoding="utf-8")
    assert text.startswith(f"# yaml-language-server: $schema={SCHEMA_COPY}\n")
    return resolve(yaml.safe_load(text), path)


def test_a_file_with_labels_becomes_a_study_that_is_scored_on_texts_it_does_not_learn(folder, capsys):
    table().to_csv("tickets.csv", index=False)
    assert main(["init", "tickets.csv"]) == 0
    study = written()
    (corpus,), (task,) = study["corpora"].values(), study["tasks"].values()
    learnt, scored = (set(pd.read_csv(one["path"])["text"]) for one in (corpus, task))
    assert not learnt & scored and learnt | scored == set(texts())
    assert set(pd.read_csv(task["path"])["label"]) == set(TOPICS)
    assert study["ablations"] and study["exports"]["tickets"]["adapter"].startswith("tuned@")
    assert study["adapters"]["tuned"]["validation"] > 0
    assert Path("resources/nano-docs/model.safetensors").is_file() and Path(SCHEMA_COPY).is_file()
    said = capsys.readouterr().out
    assert "column 'body'" in said and "'topic' (3 different)" in said and "core-minutes" in said


@pytest.mark.parametrize("end", ["csv", "tsv", "jsonl", "parquet", "csv.gz"])
def test_a_file_without_labels_becomes_a_study_without_tasks(folder, end):
    frame, name = table()[["body"]], f"texts.{end}"
    if end == "jsonl":
        frame.to_json(name, orient="records", lines=True)
    elif end == "parquet":
        frame.to_parquet(name)
    else:
        text = frame.to_csv(index=False, sep="\t" if end == "tsv" else ",").encode()
        Path(name).write_bytes(gzip.compress(text) if end == "csv.gz" else text)
    assert main(["init", name]) == 0
    study = written()
    assert study["tasks"] == {} and study["ablations"] == {} and "texts" in study["exports"]
    assert [spec["path"] for spec in study["corpora"].values()] == [name]


def test_options_replace_what_is_found(folder):
    table().to_csv("mine.csv", index=False)
    assert main(["init", "mine.csv", "--label", "none"]) == 0
    assert written()["tasks"] == {}
    assert main(["init", "mine.csv", "--yes", "--label", "day", "--gpu-memory", "24", "--model", "Qwen/Qwen3-8B"]) == 0
    study = written()
    adapter = study["adapters"]["tuned"]
    model = study["models"]["Qwen3-8B"]
    assert (model["path"], model["revision"]) == ("Qwen/Qwen3-8B", "main")
    assert adapter["lora"]["rank"] == 16 and adapter["learning_rate"] == 1e-4 and adapter["gradient_checkpointing"]
    plain = table()[["body"]].rename(columns={"body": "text"})
    plain.to_csv("plain.csv", index=False)
    assert main(["init", "plain.csv", "mine.csv", "--yes", "--study", "two.yaml"]) == 0
    two = written("two.yaml")
    assert two["tasks"]["mine"]["path"] == "mine.csv" and two["corpora"]["plain"]["path"] == "plain.csv"


def test_no_file_is_dropped(folder):
    """Each file without labels is learnt from, and each other one is scored on, also under equal names."""
    given = {"a.csv": ["body"], "b.csv": ["body"], "one.csv": ["body", "topic"], "sub/one.csv": ["body", "topic"]}
    Path("sub").mkdir()
    for path, columns in given.items():
        table()[columns].to_csv(path, index=False)
    assert main(["init", *given, "--yes"]) == 0
    study = written()
    assert {name: spec["path"] for name, spec in study["corpora"].items()} == {"a": "a.csv", "b": "b.csv"}
    assert {name: spec["path"] for name, spec in study["tasks"].items()} == {"one": "one.csv", "one-2": "sub/one.csv"}
    assert main(["init", "one.csv", "sub/one.csv", "--yes"]) == 0
    tasks = written()["tasks"]
    assert {name: spec["path"] for name, spec in tasks.items()} == {
        "labels": "texts/labelled.csv",
        "one": "sub/one.csv",
    }


def test_a_sample_leaves_a_study_alone_and_an_own_file_too(folder, capsys):
    Path("study.yaml").write_text("run: mine\n")
    assert main(["init", "--from-scratch", "sample"]) == 0 and Path("study.yaml").read_text() == "run: mine\n"
    Path("sample.csv").write_text("mine")
    assert main(["init", "--from-scratch", "sample"]) == 2 and Path("sample.csv").read_text() == "mine"
    assert "sample.csv: exists; overwrite it with --yes" in capsys.readouterr().err


def test_a_copy_of_the_model_that_breaks_off_leaves_none_that_looks_whole(folder, monkeypatch):
    table().to_csv("t.csv", index=False)

    def breaks(source, target):
        Path(target).mkdir()
        Path(target, "config.json").write_text("{}")
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(from_scratch.shutil, "copytree", breaks)
        assert main(["init", "t.csv"]) == 130
    assert not Path("resources/nano-docs").exists()
    assert main(["init", "t.csv"]) == 0 and Path("resources/nano-docs/model.safetensors").is_file()


def test_an_existing_study_is_kept_unless_asked(folder, capsys):
    Path("study.yaml").write_text("run: mine\n")
    table().to_csv("t.csv", index=False)
    assert main(["init", "t.csv"]) == 2 and Path("study.yaml").read_text() == "run: mine\n"
    assert "exists; overwrite it with --yes" in capsys.readouterr().err


def test_the_demos_study_and_the_sample_are_written_from_scratch(folder):
    assert main(["init", "--from-scratch", "demo"]) == 0
    study = yaml.safe_load(Path("study.yaml").read_text(encoding="utf-8"))
    assert study["run"] == "demo" and Path(study["models"]["nano-docs"]["path"], "config.json").is_file()
    assert resolve(study)["tasks"]["StdlibTopics"]["labels"] == "resources/stdlib_topics.yaml"
    assert main(["init", "--from-scratch", "sample", "--yes"]) == 0
    assert main(["init", "sample.csv", "--yes"]) == 0 and len(pd.read_csv("sample.csv")) > 300


def sparse(path: Path) -> None:
    with path.open("wb") as handle:
        handle.truncate(2_000_000_000)


BAD = {
    "missing.csv": (None, "no such file"),
    "empty.csv": (lambda path: path.write_bytes(b""), "the file is empty"),
    "header.csv": (lambda path: path.write_text("text,label\n"), "has 0 rows"),
    "numbers.csv": (
        lambda path: path.write_text("n\n" + "\n".join(map(str, range(500)))),
        "no column looks like texts",
    ),
    "names.csv": (lambda path: path.write_text("name\n" + "anna\n" * 300), "no column looks like texts"),
    "ten.csv": (lambda path: table(10).to_csv(path), "has 10 rows; a study needs at least 100"),
    "same.csv": (lambda path: path.write_text("text\n" + "the same text again\n" * 300), "no column looks like texts"),
    "binary.csv": (lambda path: path.write_bytes(bytes(range(256)) * 40), "is a binary file"),
    "huge.csv": (sparse, "has 2.0 GB"),
    "huge.parquet": (sparse, "has 2.0 GB"),
    "latin.csv": (lambda path: path.write_bytes(table().to_csv().replace("the", "thé").encode("latin1")), "not UTF-8"),
    "wide.csv": (lambda path: path.write_bytes(table().to_csv().encode("utf-16")), "is UTF-16"),
    "semicolon.csv": (
        lambda path: table()[["body", "topic"]].to_csv(path, sep=";", index=False),
        "with commas, not ';'",
    ),
    "false.parquet": (lambda path: path.write_text("text\nno parquet"), "is no parquet file"),
    "cut.parquet": (lambda path: path.write_bytes(b"PAR1 and no more"), "cannot be read as parquet"),
    "broken.csv": (lambda path: path.write_text('text,label\n"open,1\n' + "a,b\n" * 200), "cannot be read as csv"),
    "texts.xlsx": (lambda path: path.write_bytes(b"PK\x03\x04"), "unknown file type"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line(folder, capsys, name):
    make, says = BAD[name]
    if make:
        make(Path(name))
    assert main(["init", name]) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"Error: {name}: ") and says in line and line.count("\n") == 1
    assert not Path("study.yaml").exists()


@pytest.mark.parametrize(("arguments", "says"), [
    ([], "name a file of texts"), (["."], "is a directory"), (["t.csv", "--text", "bodi"], "did you mean 'body'"),
    (["t.csv", "--label", "body"], "name the same column"), (["t.csv", "--model", "no such"], "neither a directory"),
])  # fmt: skip
def test_a_wrong_option_is_one_line(folder, capsys, arguments, says):
    table().to_csv("t.csv", index=False)
    assert main(["init", *arguments]) == 2
    line = capsys.readouterr().err
    assert says in line and line.count("\n") == 1


def test_columns_are_found_by_their_cells_and_then_by_name():
    columns = columns_of(table().astype(str).assign(title=[" ".join(one.split()[:3]) for one in texts()]))
    text = text_column("f", columns)
    assert text.name == "body" and label_column("f", columns, text).name == "topic"
    without = [one for one in columns if one.name != "topic"]
    assert label_column("f", without, text) is None  # days are no words
    chinese = columns_of(pd.DataFrame({"a": ["河流" * 40 + str(n) for n in range(200)], "b": ["x"] * 200}))
    assert text_column("f", chinese).name == "a"


def test_facts_count_what_is_left_out():
    facts = text_facts(["One text here", "one  TEXT here", " ", None, "another text of six words here"])
    assert (facts.count, facts.repeated, facts.blank) == (2, 1, 2)
    assert "1 repeated and 2 blank rows are left out" in facts.in_words()


def test_defaults_follow_texts_model_and_device():
    many, few = text_facts(texts(4000, 30)), text_facts(texts(150, 6))
    assert pair_styles(many).value == ["halves"] and pair_styles(few).value != ["halves"]
    cpu, gpu = training_defaults(many, 5e6, None), training_defaults(many, 1e9, 80e9)
    assert cpu["batch_size"].value == 64 and gpu["batch_size"].value == 120
    assert cpu["max_steps"].value < gpu["max_steps"].value == 100
    assert gpu["learning_rate"].value < cpu["learning_rate"].value and "gradient_checkpointing" not in gpu
    small = training_defaults(few, 5e6, None)
    assert small["batch_size"].value == 18 and small["validation"].value == 0.2
    assert training_defaults(many, 30e9, 80e9)["quantize"].value == "4bit"
    assert all(one.why for one in cpu.values())
