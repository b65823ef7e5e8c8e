"""With several config files, a fault is put down to the one that it stands in."""

import pytest
import yaml
from promptpool.config.resolve import resolve
from promptpool.config.sources import file_at_fault
from promptpool.errors import PromptpoolError
from sample_config import demo


@pytest.fixture
def files(tmp_path):
    first, second = tmp_path / "study.yaml", tmp_path / "mine.yaml"
    first.write_text(yaml.safe_dump({"grid": {"layers": [-1]}, "adapters": {"a.b": {"rank": 1}}, "seed": 1}))
    second.write_text(yaml.safe_dump({"grid": {"poolings": ["maen"]}, "seed": 2}))
    return [str(first), str(second)]


@pytest.mark.parametrize(
    ("problem", "at_fault"),
    [
        ("grid.poolings: unknown pooling 'maen'", 1),
        ("grid.layers: no layer 99", 0),
        ("adapters.a.b.rank: too small", 0),
        ("seed: expected a whole number", 1),  # the later file's is the one that counts
        ("models: missing; add it", 0),
    ],
)
def test_the_file_that_holds_the_key_is_named(files, problem, at_fault):
    assert file_at_fault(problem, files) == files[at_fault]


def test_a_fault_of_the_second_file_is_told_of_it(files):
    config = demo(grid__poolings=["maen"])
    with pytest.raises(PromptpoolError) as caught:
        resolve(config, files)
    assert str(caught.value).startswith(f"{files[1]}: grid.poolings")


def test_one_file_is_named_whatever_is_wrong(files):
    assert file_at_fault("nothing.like.it: x", files[:1]) == files[0]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("seed: 1\nrun: a\nseed: 2\n", "seed: occurs twice, on lines 1 and 3; keep one"),
        (
            "tasks:\n  a: {source: file}\n  b: {x: 1}\n  a: {x: 2}\n",
            "tasks.a: occurs twice, on lines 2 and 4; keep one",
        ),
        ("prompts:\n  none: '{text}'\n  'none': x\n", "prompts.none: occurs twice, on lines 2 and 3; keep one"),
    ],
)
def test_a_key_that_stands_twice_in_a_file_is_refused(files, content, fault):
    with open(files[1], "w") as handle:
        handle.write(content)
    with pytest.raises(PromptpoolError) as caught:
        resolve(demo(), files)
    assert str(caught.value) == f"{files[1]}: {fault}"


def test_a_key_of_two_files_is_no_repetition(files):
    assert resolve(demo(), files)["run"]


@pytest.mark.parametrize("key", ["tasks__StdlibTopics__labels", "corpora__mine__path", "models__own__path"])
def test_every_path_may_begin_at_home(tmp_path, monkeypatch, key):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "topics.yaml").write_text("a: [x]\nb: [y]\n")
    (tmp_path / "mine.csv").write_text("text\na\n")
    (tmp_path / "own").mkdir()
    (tmp_path / "own/config.json").write_text("{}")
    section, name, last = key.split("__")
    values = {
        "tasks": {key: "~/topics.yaml"},
        "corpora": {"corpora__mine": {"source": "file", "path": "~/mine.csv"}},
        "models": {"models__own": {"path": "~/own"}},
    }
    full = resolve(demo(**values[section]))
    assert full[section][name][last].startswith(str(tmp_path))
