"""A rule's code digest follows what the stage means, through its imports, and nothing else."""

import ast
import re
from pathlib import Path

import pytest
from promptpool.runtime import code_digest as sources
from promptpool.runtime.code_digest import code_digest

MODULES = {
    "stage": '"""A stage."""\nfrom .idea import answer\n\n\ndef run():\n    return answer()\n',
    "idea": '"""An idea."""\n\n\ndef answer():\n    """Says it."""\n    return 42\n',
    "other": "VALUE = 1\n",
}


@pytest.fixture
def room(tmp_path, monkeypatch) -> Path:
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(sources, "PACKAGE", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    sources._tree.cache_clear()
    sources._meaning.cache_clear()
    sources._imports.cache_clear()


def digest_after(room: Path, module: str, text: str) -> str:
    (room / f"{module}.py").write_text(text)
    forget()
    return code_digest("stage")


def test_an_imported_module_counts(room):
    assert digest_after(room, "idea", MODULES["idea"].replace("42", "43")) != code_digest_of_original(room)


def code_digest_of_original(room: Path) -> str:
    for name, text in MODULES.items():
        (room / f"{name}.py").write_text(text)
    forget()
    return code_digest("stage")


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("return 42", "return 42  # why"),
        lambda text: text.replace("Says it.", "Says something else."),
        lambda text: text.replace("\n\n\n", "\n\n\n\n\n"),
    ],
    ids=["comment", "docstring", "layout"],
)
def test_comments_docstrings_and_layout_do_not_count(room, edit):
    before = code_digest("stage")
    assert digest_after(room, "idea", edit(MODULES["idea"])) == before


def test_a_module_that_is_not_imported_does_not_count(room):
    before = code_digest("stage")
    assert digest_after(room, "other", "VALUE = 2\n") == before


def test_every_stage_a_rule_names_is_a_module():
    rules = (Path(__file__).parents[2] / "workflow/rules").glob("*.smk")
    named = {word for path in rules for word in path.read_text().split('code_digest("')[1:]}
    assert named
    for word in named:
        assert len(code_digest(word.partition('"')[0])) == 16


def test_the_digest_of_embeddings_follows_pooling():
    assert "embedding.pooling" in sources._closure("embedding.embed_family")
    assert isinstance(sources._tree("embedding.pooling"), ast.Module)


def test_what_draws_is_known_to_figures_and_the_report_alone():
    """A colour or a label must not make anything run again above the figures."""
    rules = (Path(sources.PACKAGE).parent / "rules").glob("*.smk")
    texts = [rule.read_text(encoding="utf-8") for rule in rules]
    asked = {name for text in texts for name in re.findall(r'code_digest\("([\w.]+)"\)', text)}
    drawn = {"figures.draw", "report.build_report"}
    assert drawn | {"scoring.map_texts", "scoring.measure_costs", "scoring.score"} <= asked
    for name in asked - drawn:
        seen = {module for module in sources._closure(name) if module.startswith(("figures.", "report."))}
        assert seen == set(), name
