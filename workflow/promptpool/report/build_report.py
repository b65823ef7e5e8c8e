"""One page that shows a run: every number with its interval, every figure with a caption, and how to reproduce it.

The page is one file and loads nothing from the network. The template escapes everything that comes from data (texts,
names, tokens). The page's script reads JSON that contains no `<`.
"""

import base64
import json
import math
import re
import shlex
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import pandas as pd
import yaml

from ..analysis.score_table import by_task, measures, tasks_of
from ..analysis.summarise_scores import reading_notes
from ..artifacts.files import atomic_path, write_sidecar
from ..errors import PromptpoolError
from ..figures import registry
from ..statistics.samples import read_facts
from .attention import attention_section
from .choice import choice_content
from .long_texts import long_texts_section
from .map import map_content
from .negatives import negatives_section
from .pairs import pair_section
from .provenance import DIGITS, chain
from .scores import MOST_ROWS, ablation_section, benchmark_sections, headline_rows, score_rows
from .serving import serving_section
from .verdict import verdict_content


@dataclass(frozen=True)
class Artifacts:
    """The files that a report is built from. An empty one has no section.

    summary, scores, ablations (by name), benchmarks, text_map: parquets of those stages; verdict: its JSON; choice:
    its outcome and agreement; attention: that stage's table and its summary; pairs: name -> (pairs.parquet, qc.json);
    negatives: adapter -> its qc.json; training: adapter -> parquet of step and loss; figures: file name without suffix
    -> SVG, of entries in figures.registry; facts: the tasks' facts.json; serving: export -> what servers gave of it.
    """

    summary: str | Path
    scores: str | Path
    ablations: Mapping[str, str | Path] = field(default_factory=dict)
    attention: Sequence[str | Path] = ()
    pairs: Mapping[str, tuple[str | Path, str | Path]] = field(default_factory=dict)
    negatives: Mapping[str, str | Path] = field(default_factory=dict)
    training: Mapping[str, str | Path] = field(default_factory=dict)
    figures: Mapping[str, str | Path] = field(default_factory=dict)
    facts: Sequence[str | Path] = ()
    serving: Mapping[str, str | Path] = field(default_factory=dict)
    benchmarks: str | Path | None = None
    text_map: str | Path | None = None
    verdict: str | Path | None = None
    choice: Sequence[str | Path] = ()

    def files(self) -> list[str | Path]:
        """All of them."""
        single = [self.summary, self.scores, *filter(None, (self.benchmarks, self.text_map, self.verdict))]
        named = (self.ablations, self.negatives, self.training, self.figures, self.serving)
        of_names = [path for paths in named for path in paths.values()]
        of_pairs = [path for both in self.pairs.values() for path in both]
        return [*single, *of_names, *self.attention, *self.facts, *self.choice, *of_pairs]


def build_report(
    out: str | Path,
    given: Artifacts,
    *,
    config: Mapping,
    provenance: Mapping,
    published: Mapping[str, Sequence[Mapping]] | None = None,
    configfile: str | None = None,
) -> None:
    """Writes the report, a single HTML file, and its sidecar.

    config: the resolved config; provenance: facts to print; published: benchmark -> reference lines; configfile: the
    file that the commands name, None for config.yaml. Raises PromptpoolError if an input does not exist.
    """
    started, run = time.time(), config["run"]
    start = command(run, configfile)
    pictures = [picture(name, path, f"{start} results/{run}/figures") for name, path in given.figures.items()]
    table = by_task(table_of(given.scores))
    of_benchmarks = benchmarks_of(given, config, published or {}, pictures)
    questions = {name: (spec or {}).get("question", "") for name, spec in (config.get("ablations") or {}).items()}
    of_ablations = [
        ablation_section(name, table_of(path), questions.get(name, ""), pictures)
        for name, path in given.ablations.items()
    ]
    sections = {"headline": True, "scores": True, "map": given.text_map, "attention": given.attention,
                "training": given.training, "pairs": given.pairs}  # fmt: skip
    html = (
        environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            measure=measures(read_facts(map(found, given.facts))),
            verdict=verdict_content(found(given.verdict)) if given.verdict else None,
            headline=headline_rows(table_of(given.summary)),
            notes=reading_notes(table_of(given.summary)),
            benchmarks=of_benchmarks,
            text_map=map_content(table_of(given.text_map)) if given.text_map else None,
            tasks=tasks_of(table),
            rows=score_rows(table),
            left_out=max(0, len(table) - MOST_ROWS),
            ablations=of_ablations,
            choice=choice_content(*map(table_of, given.choice)) if given.choice else None,
            attention=attention_section(*map(found, given.attention)) if given.attention else None,
            training=[training_row(name, found(path)) for name, path in sorted(given.training.items())],
            pairs=[
                pair_section(name, table_of(path), json.loads(found(qc).read_text(encoding="utf-8")))
                for name, (path, qc) in given.pairs.items()
            ],
            negatives=[negatives_section(name, found(qc)) for name, qc in sorted(given.negatives.items())],
            serving=serving_section({name: found(path) for name, path in given.serving.items()})
            if given.serving
            else None,
            pictures=pictures,
            further=without_place(
                pictures, {one for one in sections if sections[one]}, [*of_ablations, *of_benchmarks]
            ),
            start=start,
            commands=commands(run, list(given.ablations), list(config.get("exports") or {}), configfile),
            long_texts=long_texts_section(given.files()),
            chain=chain(given.files()),
            digits=DIGITS,
            config=yaml.safe_dump(as_json_types(config), sort_keys=False, allow_unicode=True, width=100),
            provenance=as_json_types(provenance),
        )
    )
    with atomic_path(out) as temporary:
        temporary.write_text(html, encoding="utf-8")
    write_sidecar(out, inputs=given.files(), started=started)


def benchmarks_of(given: Artifacts, config: Mapping, published: Mapping, pictures: Sequence[Mapping]) -> list:
    """The sections of the benchmarks for which the study has averages."""
    if not given.benchmarks:
        return []
    wholes = {name: (spec or {}).get("name", name) for name, spec in (config.get("benchmarks") or {}).items()}
    return benchmark_sections(table_of(given.benchmarks), wholes, published, pictures)


def environment() -> jinja2.Environment:
    """The templates, with escaping on for everything."""
    loader = jinja2.PackageLoader(__package__)  # its folder `templates`
    made = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters["points"] = points
    made.filters["percent"] = "{:.0%}".format
    made.tests["known"] = known
    return made


def known(value: object) -> bool:
    """Whether there is a number to show."""
    return isinstance(value, int | float) and math.isfinite(value)


def points(value: float, sign: bool = False) -> str:
    """A score in points (times 100, one decimal), `–` if it is missing."""
    if not known(value):
        return "–"
    return f"{value * 100:{'+' if sign else ''}.1f}".replace("-", "−")


def table_of(path: str | Path) -> pd.DataFrame:
    return pd.read_parquet(found(path))


def found(path: str | Path) -> Path:
    """The path. Raises PromptpoolError if there is no file."""
    path = Path(path)
    if not path.is_file():
        raise PromptpoolError(f"report: {path}: no such file; run the rule that makes it")
    return path


def training_row(name: str, path: Path) -> dict:
    """An adapter's steps, its first and last loss, and its best step if pairs were held out (else None)."""
    log = pd.read_parquet(path).dropna(subset=["loss"]).sort_values("step")
    best_step = path.with_name("best_step.json")
    best = json.loads(best_step.read_text(encoding="utf-8")) if best_step.exists() else None
    if log.empty:
        return {"name": name, "steps": 0, "first": None, "last": None, "best": best}
    return {
        "name": name,
        "steps": int(log["step"].iloc[-1]),
        "first": float(log["loss"].iloc[0]),
        "last": float(log["loss"].iloc[-1]),
        "best": best,
    }


def picture(name: str, path: str | Path, start: str = "") -> dict:
    """An SVG as a data URI, with its entry's section, caption and alternative text, and the command that draws it again
    (`start` and its file). `kind`: the entry's name; `of`: what the figure is of, "" for a single one.

    As a separate image its ids can't clash with another's, and a script inside it would not run.
    """
    figure, of = registry.find(name)
    drawing = found(path).read_bytes()
    points_wide = re.search(rb'<svg[^>]*?\bwidth="([\d.]+)pt"', drawing)
    return {
        "name": name,
        "kind": figure.name,
        "of": of,
        "section": figure.section,
        "src": f"data:image/svg+xml;base64,{base64.b64encode(drawing).decode('ascii')}",
        # Large enough for 8-point type to look like the page's own.
        "width": round(float(points_wide[1]) * 1.75) if points_wide else 800,
        "alt": figure.alt + (f" ({of})" if of else ""),
        "caption": figure.caption,
        "command": f"{start}/{Path(path).name}" if start else "",
    }


def without_place(pictures: Sequence[Mapping], sections: Container[str], parts: Sequence[Mapping]) -> list[Mapping]:
    """The pictures that no section on the page shows, so that none is lost.

    sections: those on the page that show every picture of theirs; parts: the page's single ablations and benchmarks,
    each with the pictures that it shows.
    """
    shown = {picture["name"] for part in parts for picture in part["pictures"]}
    return [one for one in pictures if one["section"] not in sections and one["name"] not in shown]


def command(run: str, configfile: str | None = None) -> str:
    """The command that runs the workflow on this run's config."""
    if run == "demo":
        return "snakemake --cores all --workflow-profile workflow/profiles/demo"
    return "snakemake --cores all" + (f" --configfile {shlex.quote(configfile)} --" if configfile else "")


def commands(
    run: str, ablations: Sequence[str], exports: Sequence[str], configfile: str | None = None
) -> list[tuple[str, str]]:
    """(what it makes, the command) for the whole run and for its parts."""
    start = command(run, configfile)
    rows = [("everything in this run", start.removesuffix(" --")), ("this page", f"{start} results/{run}/report.html")]
    rows.append(("the headline table", f"{start} results/{run}/summary.parquet"))
    rows.append(("the scores alone", f"{start} results/{run}/scores.parquet"))
    rows += [(f"the ablation {name}", f"{start} results/{run}/ablations/{name}.parquet") for name in ablations]
    return rows + [(f"the exported model {name}", f"{start} results/{run}/models/{name}") for name in exports]


def as_json_types(value: object) -> object:
    """The same content in JSON types, so that it can be printed."""
    return json.loads(json.dumps(value, default=str))
