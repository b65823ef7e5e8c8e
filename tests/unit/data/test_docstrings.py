"""The embedded corpus: read, never imported; the same every time; tasks and training never share a text."""

import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest
from promptpool.data.docstrings import DOCSTRING_COLUMNS, clean, corpus_versions, read_docstrings, topic_of
from promptpool.errors import PromptpoolError
from promptpool.text.normalisation import normalise

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
LONG = "Return the shortest path between two nodes.\n\nThe path is a list of nodes, in the order in which they stand."


@pytest.fixture(scope="module")
def joblib() -> pd.DataFrame:
    return read_docstrings(["joblib"], labelled=["joblib"])


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Makes packages: a mapping of file -> source, under a folder that Python takes for its site-packages."""
    paths = dict(sysconfig.get_paths(), purelib=str(tmp_path))
    monkeypatch.setattr(sysconfig, "get_paths", lambda: paths)

    def make(files: dict[str, str]) -> Path:
        for name, source in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source, encoding="utf-8")
        return tmp_path

    return make


def module(*docstrings: str) -> str:
    return "\n".join(f"def f{i}():\n    {text!r}\n" for i, text in enumerate(docstrings))


def test_two_readings_are_equal(joblib):
    pd.testing.assert_frame_equal(read_docstrings(["joblib"], labelled=["joblib"]), joblib)
    assert list(joblib.columns) == DOCSTRING_COLUMNS and len(joblib) > 100


def test_workers_do_not_change_the_result(joblib):
    pd.testing.assert_frame_equal(read_docstrings(["joblib"], labelled=["joblib"], workers=2), joblib)


def test_ids_texts_and_labelled_summaries_are_unique(joblib):
    assert joblib["id"].is_unique and joblib["text"].is_unique
    assert not joblib.duplicated(["summary", "label"]).any()
    assert joblib["id"].is_monotonic_increasing


def test_one_more_package_leaves_the_others_rows_as_they_are(joblib):
    both = read_docstrings(["joblib", "yaml"], labelled=["joblib"])
    mine = both[both["package"] == "joblib"].reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, joblib)


def test_nothing_is_imported():
    code = (
        "import sys; from promptpool.data.docstrings import read_docstrings; before = set(sys.modules);"
        "assert len(read_docstrings(['networkx'])) > 500; found = [m for m in sys.modules if m.startswith('networkx')];"
        "assert not found, found"
    )
    path = str(Path(__file__).parents[3] / "workflow")
    answer = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, timeout=120, check=False
    )
    assert answer.returncode == 0, answer.stderr


def test_code_of_a_package_is_never_run(installed):
    installed({"trap/__init__.py": f'"""{LONG}"""\nraise SystemExit("imported")\n'})
    assert read_docstrings(["trap"])["summary"].tolist() == ["Return the shortest path between two nodes."]


def test_the_split_follows_the_summary_alone(installed):
    summaries = [f"Return the value of number {word} in the list." for word in WORDS[:6]]
    installed({
        "a/x.py": module(*(f"{s}\n\nOf the first kind." for s in summaries)),
        "a/y.py": module(*(f"{s}\n\nOf the second kind." for s in reversed(summaries))),
    })  # fmt: skip
    table = read_docstrings(["a"], labelled=["a"])
    assert len(table) == 12
    assert (table.groupby("summary")["split"].nunique() == 1).all()
    assert table["split"].nunique() > 1


def test_the_share_of_a_labelled_package_is_about_what_was_asked(joblib):
    share = (read_docstrings(["networkx"], labelled=["networkx"], task_share=0.3)["split"] == "task").mean()
    assert 0.25 < share < 0.35
    assert (read_docstrings(["joblib"])["split"] != "task").all()


def test_tasks_and_training_never_share_a_text_even_across_packages(installed):
    summaries = [f"Return the value of number {word} in the list" for word in WORDS]
    installed({
        "lab/x.py": module(*(f"{s}.\n\nAs the laboratory likes it." for s in summaries)),
        "plain/x.py": module(*(f"{s.upper()}!\n\nAs anyone likes it." for s in summaries)),
    })  # fmt: skip
    table = read_docstrings(["lab", "plain"], labelled=["lab"])
    assert 0 < (table["split"] == "task").sum() < len(table)
    tasks = set(table.loc[table["split"] == "task", "summary"].map(normalise))
    assert not tasks & set(table.loc[table["split"] != "task", "summary"].map(normalise))


@pytest.mark.parametrize("column", ["summary", "paragraphs", "text"])
def test_no_column_of_the_real_corpus_stands_on_both_sides(column):
    table = read_docstrings(["networkx", "joblib", "jinja2", "yaml"], labelled=["networkx"])
    keys = table[column].map(normalise)
    assert not set(keys[table["split"] == "task"]) & set(keys[table["split"] != "task"])


def test_the_same_prose_under_two_summaries_stays_on_one_side(installed):
    # One has a blank line after its first sentence, the other has none: other summaries, the same words.
    apart = [f"Return item {word} of the list.\n\nIt is found by name." for word in WORDS]
    whole = [text.replace("\n\n", " ") for text in apart]
    installed({"lab/x.py": module(*whole), "plain/x.py": module(*apart)})
    table = read_docstrings(["lab", "plain"], labelled=["lab"])
    keys = table["paragraphs"].map(normalise)
    assert (table.groupby(keys)["split"].unique().map(lambda splits: "task" not in splits or len(splits) == 1)).all()
    assert (table["split"] == "task").any()


def test_files_that_do_not_parse_and_tests_are_left_out(installed):
    installed({
        "a/good.py": module(LONG),
        "a/broken.py": "def f(:\n",
        "a/null.py": "x = '\0'",
        "a/tests/test_it.py": module("This is a test of the whole thing."),
        "a/_vendor/other.py": module("This came along with the package."),
    })  # fmt: skip
    assert read_docstrings(["a"])["id"].tolist() == ["a.good:f0"]


def test_nested_objects_are_named_by_their_place(installed):
    method = '    async def m(self):\n        "Do what the method was made to do."\n'
    installed({"a/x.py": f'class C:\n    """{LONG}"""\n{method}'})
    assert read_docstrings(["a"])["id"].tolist() == ["a.x:C", "a.x:C.m"]


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(PromptpoolError, match="package 'no_such_package' is not installed"):
        read_docstrings(["no_such_package"])


@pytest.mark.parametrize(
    ("package", "name", "topic"),
    [
        ("scipy", "scipy.signal._filters", "scipy.signal"),
        ("scipy", "scipy.signal.__init__", "scipy.signal"),
        ("networkx", "networkx.algorithms.flow.maxflow", "networkx.flow"),
        ("networkx", "networkx.algorithms.__init__", "networkx.algorithms"),
        ("numpy", "numpy._core.multiarray", None),
        ("scipy", "scipy.__init__", None),
        ("scipy", "scipy", None),
        ("stdlib", "email.mime.text", "email"),
        ("stdlib", "json.__init__", "json"),
        ("stdlib", "_pydecimal", None),
    ],
)
def test_the_topic_of_a_module(package, name, topic):
    assert topic_of(package, name) == topic


@pytest.mark.parametrize(
    "docstring",
    ["", "   ", "Too short.", "x = 1; y = 2; z = 3 + 4 * 5 / (6 - 7) ** 8", "a " * 300, ">>> one two three four five",
     "Word " * 100, "1.2.3 4.5.6 7.8.9 (10.11.12) ab cd ef gh"],
)  # fmt: skip
def test_what_is_no_sentence_is_left_out(docstring):
    assert clean(docstring) is None


def test_a_summary_is_the_first_paragraph_on_one_line():
    summary, _, _ = clean("Return the path\n    between   two nodes.\n\nMore of it.")
    assert summary == "Return the path between two nodes."


@pytest.mark.parametrize(
    "section",
    ["Parameters\n----------\nx : int", ":param x: a number", "Returns: a number", "Example:\n  text", ".. note:: this",
     "Notes\n-----\nMuch more."],
)  # fmt: skip
def test_paragraphs_end_where_the_reference_part_begins(section):
    _, paragraphs, text = clean(f"Return the path between nodes.\n\nIt is short.\n\n{section}\n\nHidden prose.")
    assert paragraphs == "Return the path between nodes.\nIt is short."
    assert "Hidden prose." in text


def test_paragraphs_are_the_summary_and_three_more_at_most():
    blocks = ["Return the path between nodes.", *(f"Sentence number {n}." for n in range(6))]
    assert clean("\n\n".join(blocks))[1].splitlines() == blocks[:4]


def test_examples_are_cut_from_the_text_and_its_length_is_bounded():
    _, _, text = clean("Return the path between nodes.\n\n>>> path(1, 2)\n[1, 2]\n\n" + "More prose here. " * 1000)
    assert ">>>" not in text and 5900 < len(text) <= 6000


def test_versions_are_those_installed():
    assert corpus_versions(["yaml", "joblib", "stdlib"]) == {
        "joblib": version("joblib"), "stdlib": sysconfig.get_python_version(), "yaml": version("pyyaml")
    }  # fmt: skip
