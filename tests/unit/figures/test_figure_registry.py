"""The registry of figures: each entry draws, and what an entry says is all that a figure needs."""

import base64
import inspect
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pandas as pd
import pyarrow.parquet as pq
import pytest
from promptpool.config.resolve import resolve
from promptpool.figures import readers, registry
from promptpool.figures.draw import draw
from promptpool.figures.entry import READ, SECTIONS, Figure
from promptpool.figures.registry import FIGURES, find
from promptpool.runtime.code_digest import computations
from promptpool.study.study import Study
from sample_config import ROOT, demo
from sample_report import build
from sample_study import SampleStudy
from sample_tables import (
    sample_attention,
    sample_attention_summary,
    sample_costs,
    sample_facts,
    sample_layers,
    sample_map,
    sample_omission_summary,
    sample_qc,
    sample_steps,
    sample_training,
    sample_value_norm_summary,
)

DOT = '<svg xmlns="http://www.w3.org/2000/svg" width="72pt" height="72pt"><circle r="9"/></svg>'


@pytest.fixture
def study(monkeypatch) -> Study:
    """The tests' study with all that a figure can be drawn of."""
    monkeypatch.chdir(ROOT)
    return Study(resolve(demo(grid__layers=[0, -1], attention__omissions=4, attention__value_norms=True,
                               benchmarks={"own": {"name": "paper"}},
                               grid__post_processing=["none", "cut(64)"])))  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """The files that figures read, of sample tables, where the stages write them."""
    folder = tmp_path_factory.mktemp("results")
    tables = {
        "scores": sample_layers(),
        "ablations/steps": sample_steps(),
        "costs/nano-docs": sample_costs(),
        "map": sample_map(),
        "attention_summary": sample_attention_summary(),
        "omission_summary": sample_omission_summary(),
        "value_norm_summary": sample_value_norm_summary(),
        **{f"adapters/{name}/training": log for name, log in sample_training().items()},
    }
    for name, table in tables.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        table.to_parquet(folder / f"{name}.parquet")
    pq.write_table(sample_attention(), folder / "attention.parquet")
    facts = {f"tasks/{name}/facts.json": fact for name, fact in sample_facts().items()}
    qc = {f"pairs/{name}/qc.json": content for name, content in sample_qc().items()}
    for name, content in {**facts, **qc}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_every_entry_draws_from_the_files_that_it_names(figure, results, tmp_path):
    sample = SampleStudy(results)
    (name,) = figure.names(sample)
    svg = tmp_path / f"{figure.files(sample)[0]}.svg"
    inputs, options = figure.inputs(sample, name), figure.options(sample, name)
    draw(figure.name, figure.drawing, inputs, str(svg), options)
    assert svg.read_text().count("<path") > 10 and svg.with_suffix(".png").exists()
    sidecar = json.loads(Path(f"{svg}.meta.json").read_text())
    assert set(sidecar["inputs"]) == {path for paths in inputs.values() for path in paths}
    assert sidecar["spec"]["kind"] == figure.name


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_an_entry_gives_its_function_what_it_takes(figure, study):
    module, function = figure.drawing.split(".")
    taken = inspect.signature(getattr(import_module(f"promptpool.figures.{module}"), function))
    for name in figure.names(study):
        given = {*figure.inputs(study, name), *figure.options(study, name), "out"}
        taken.bind(**dict.fromkeys(given))  # TypeError where one lacks or is too many
    assert figure.files(study), "the tests' study has one of each"


def test_figures_are_those_that_a_study_can_have(study, monkeypatch):
    monkeypatch.chdir(ROOT)
    bare = Study(resolve(demo(attention=None)))
    lacking = {figure.name for figure in FIGURES if figure.files(study) and not figure.files(bare)}
    assert lacking == {
        "size_scores",
        "layer_curves",
        "benchmark",
        "attention_bars",
        "attention_spans",
        "attention_layers",
        "omissions",
        "value_norms",
    }


def test_a_file_is_of_one_entry(study):
    files = {file: figure for figure in FIGURES for file in figure.files(study)}
    assert len(files) == sum(len(figure.files(study)) for figure in FIGURES)
    for file, figure in files.items():
        found, name = find(file)
        assert found is figure and figure.pattern.format(name=name) == file
    with pytest.raises(ValueError, match="no figure is called 'heat_maps'"):
        find("heat_maps")


def test_the_longer_name_goes_first():
    figures = (made_up(name="tuned", per="ablation"), made_up(name="tuned_by_length", per="ablation"))
    assert find("tuned_by_length_steps", figures) == (figures[1], "steps")
    assert find("tuned_by_steps", figures) == (figures[0], "by_steps")


def test_the_registry_loads_nothing_that_draws():
    heavy = "{'matplotlib', 'pandas', 'numpy', 'pyarrow', 'torch', 'scipy', 'jinja2'}"
    code = f"import sys, promptpool.figures.registry; print(sorted({heavy} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def modules_of(script: str, *more: str) -> set[str]:
    """The modules that a rule's digest holds something of."""
    return {module for module, _ in computations(script, *more)}


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_a_figures_digest_holds_its_function_its_readers_and_the_style(figure, results):
    sample = SampleStudy(results)
    (name,) = figure.names(sample)
    held, (module, function) = set(computations("draw", *figure.code(sample, name))), figure.drawing.split(".")
    assert {("figures.draw", "draw"), (f"figures.{module}", function)} <= held
    assert "figures.style" in modules_of("draw", *figure.code(sample, name))
    own = {f"read_{one}" for one in figure.inputs(sample, name) if one in READ}
    shared = {"read_table"} if set(figure.inputs(sample, name)) - set(READ) else set()
    assert {function for module, function in held if module == "figures.readers" and function[0] != "_"} == own | shared


def test_the_arguments_with_a_reader_of_their_own_are_listed():
    functions = {name for name, found in vars(readers).items() if getattr(found, "__module__", "") == readers.__name__}
    assert {name for name in functions if name[0] != "_"} == {"read_table", *(f"read_{name}" for name in READ)}
    given = {argument for figure in FIGURES for argument in figure.inputs(SampleStudy(""), "steps")}
    assert set(READ) <= given, "a reader that no figure asks for"


def test_a_caption_is_no_part_of_what_draws(results):
    sample = SampleStudy(results)
    for figure in FIGURES:
        (name,) = figure.names(sample)
        assert not {"figures.registry", "figures.entry"} & modules_of("draw", *figure.code(sample, name))
    assert "figures.registry" in modules_of("build_report")


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_captions_read_the_same_in_both_reports(figure):
    from docutils.core import publish_doctree

    doctree = publish_doctree(figure.caption, settings_overrides={"report_level": 1, "halt_level": 2})
    assert [node.tagname for node in doctree.children] == ["paragraph"]
    assert doctree.astext() == figure.caption


def test_an_unknown_section_is_refused():
    with pytest.raises(ValueError, match=r"figure made_up: no section is called 'heads'; known: headline, "):
        made_up(section="heads")


# --- a new figure is one entry and its drawing function ----------------------------------------------


def made_up(**changed) -> Figure:
    given = dict(
        name="made_up",
        drawing="made_up.dot",
        inputs=lambda study, name: {"table": [f"{study.results}/map.parquet"]},
        title="a dot",
        category="Scores",
        section="training",
        caption="A dot, for a test.",
        alt="One dot.",
    )
    return Figure(**(given | changed))


@pytest.fixture
def new_figure(monkeypatch) -> Figure:
    """The entry and its drawing function, and nothing else."""
    module = ModuleType("promptpool.figures.made_up")

    def dot(table: pd.DataFrame, out: Path) -> None:
        assert len(table)
        for suffix in (".svg", ".png"):
            out.with_suffix(suffix).write_text(DOT)

    module.dot = dot
    monkeypatch.setitem(sys.modules, module.__name__, module)
    figure = made_up()
    monkeypatch.setattr(registry, "FIGURES", (*FIGURES, figure))
    return figure


def test_a_new_entry_is_drawn_and_shown_in_its_section(new_figure, results, tmp_path):
    svg = tmp_path / "made_up.svg"
    draw(new_figure.name, new_figure.drawing, new_figure.inputs(SampleStudy(results), ""), str(svg))
    page = build(tmp_path / "page", figures={"made_up": svg}).read_text(encoding="utf-8")
    section = page.split('<h2 id="training">')[1].split("</section>")[0]
    assert base64.b64encode(DOT.encode()).decode() in section
    assert 'alt="One dot."' in section and "A dot, for a test." in section and "figures/made_up.svg</code>" in section


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_shows_its_figures_once(section, monkeypatch, tmp_path):
    svg = tmp_path / "made_up.svg"
    svg.write_text(DOT)
    own = {"ablations": "ablation", "benchmarks": "benchmark"}.get(section, "")
    file = {"ablations": "made_up_prompts", "benchmarks": "made_up_own"}.get(section, "made_up")
    monkeypatch.setattr(registry, "FIGURES", (made_up(section=section, per=own),))
    page = build(tmp_path / "page", figures={file: svg}).read_text(encoding="utf-8")
    assert page.count("A dot, for a test.") == 1
    assert "A dot, for a test." in page.split(f'<h2 id="{section}">')[1].split("</section>")[0]


@pytest.mark.parametrize(
    "lost", [{"text_map": None}, {"attention": []}, {"training": {}}, {"pairs": {}}, {"ablations": {}}], ids=str
)
def test_a_figure_without_its_section_is_shown_among_the_further_ones(lost, tmp_path):
    """The tables of a section may be gone while its figure is there: it is not left out without a word."""
    page = build(tmp_path, **lost).read_text(encoding="utf-8")
    assert page.count('class="made"') == 8
    assert '<h2 id="further">' in page
