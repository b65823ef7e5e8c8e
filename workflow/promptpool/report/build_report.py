"""One page that shows a run: every number with its interval, every figure with its words, and how to make it again.

The page is one file and asks the network for nothing. All that comes from data (texts, names, tokens) is escaped by
the template; what the page's script reads is JSON in which no `<` is left.
"""

import base64
import json
import math
import re
import shlex
import time
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

import jinja2
import pandas as pd
import yaml

from ..analysis.comparison import measures
from ..analysis.score_table import by_task, tasks_of
from ..artifacts.files import atomic_path, write_sidecar
from ..errors import PromptpoolError
from ..figures import registry
from ..statistics.samples import read_facts
from .attention import attention_section
from .map import map_content
from .pairs import pair_section
from .provenance import DIGITS, chain
from .scores import MOST_ROWS, ablation_section, benchmark_sections, headline, score_rows

TEMPLATES = Path(__file__).parents[2] / "report"


def build_report(
    out: str | Path,
    *,
    run: str,
    summary: str | Path,
    scores: str | Path,
    ablations: Mapping[str, str | Path],
    attention: Sequence[str | Path],
    pairs: Mapping[str, tuple[str | Path, str | Path]],
    training: Mapping[str, str | Path],
    figures: Mapping[str, str | Path],
    config: Mapping,
    provenance: Mapping,
    facts: Sequence[str | Path] = (),
    benchmarks: str | Path | None = None,
    published: Mapping[str, Sequence[Mapping]] | None = None,
    text_map: str | Path | None = None,
    configfile: str | None = None,
) -> None:
    """Writes the report, a single HTML file, and its sidecar.

    summary, scores, ablations (by name), benchmarks, text_map: parquets of those stages; attention: that stage's table
    and its summary; pairs: name -> (pairs.parquet, qc.json); training: adapter -> parquet of step and loss; figures:
    file name without suffix -> SVG, of entries in figures.registry; config: the resolved config; provenance: facts
    to print; facts: the tasks' facts.json, which say what a score is; published: benchmark -> reference lines;
    configfile: what the commands name, None for config.yaml. Whatever is empty has no section. Raises PromptpoolError
    for an input that is not there.
    """
    started = time.time()
    start = command(run, configfile)
    pictures = [picture(name, path, f"{start} results/{run}/figures") for name, path in figures.items()]
    table = by_task(pd.read_parquet(found(scores)))
    inputs = [summary, scores, *ablations.values(), *attention, *training.values(), *figures.values(), *facts]
    inputs += [*(path for both in pairs.values() for path in both), *filter(None, (benchmarks, text_map))]
    wholes = {name: (spec or {}).get("name", name) for name, spec in (config.get("benchmarks") or {}).items()}
    questions = {name: (spec or {}).get("question", "") for name, spec in (config.get("ablations") or {}).items()}
    of_benchmarks = (
        benchmark_sections(pd.read_parquet(found(benchmarks)), wholes, published or {}, pictures) if benchmarks else []
    )
    of_ablations = [
        ablation_section(name, pd.read_parquet(found(path)), questions.get(name, ""), pictures)
        for name, path in ablations.items()
    ]
    sections = {"headline": True, "scores": True, "map": text_map, "attention": attention, "training": training,
                "pairs": pairs}  # fmt: skip
    page = environment().get_template("report.html.j2")
    html = page.render(
        run=run,
        measure=measures(read_facts(map(found, facts))),
        headline=headline(pd.read_parquet(found(summary))),
        benchmarks=of_benchmarks,
        text_map=map_content(pd.read_parquet(found(text_map))) if text_map else None,
        tasks=tasks_of(table),
        rows=score_rows(table),
        left_out=max(0, len(table) - MOST_ROWS),
        ablations=of_ablations,
        attention=attention_section(*map(found, attention)) if attention else None,
        training=[training_row(name, found(path)) for name, path in sorted(training.items())],
        pairs=[
            pair_section(name, pd.read_parquet(found(path)), json.loads(found(qc).read_text(encoding="utf-8")))
            for name, (path, qc) in pairs.items()
        ],
        pictures=pictures,
        further=without_place(pictures, {one for one in sections if sections[one]}, [*of_ablations, *of_benchmarks]),
        start=start,
        commands=commands(run, list(ablations), list(config.get("exports") or {}), configfile),
        chain=chain(inputs),
        digits=DIGITS,
        config=yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True, width=100),
        provenance=plain(provenance),
    )
    with atomic_path(out) as temporary:
        temporary.write_text(html, encoding="utf-8")
    write_sidecar(out, inputs=inputs, started=started)


def environment() -> jinja2.Environment:
    """The templates, with escaping on for everything."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
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
    """A score in points (times 100, one decimal), `–` where it is missing."""
    if not known(value):
        return "–"
    return f"{value * 100:{'+' if sign else ''}.1f}".replace("-", "−")


def found(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise PromptpoolError(f"report: {path}: no such file; run the rule that makes it")
    return path


def training_row(name: str, path: Path) -> dict:
    """An adapter's steps, its first and last loss, and its best step where pairs were held out (else None)."""
    log = pd.read_parquet(path).dropna(subset=["loss"]).sort_values("step")
    told = path.with_name("best_step.json")
    best = json.loads(told.read_text(encoding="utf-8")) if told.exists() else None
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
    (`start` and its file). `kind`: the entry's name; `of`: what it is a figure of, "" for a single one.

    As an image of its own it cannot clash with another's ids, and a script inside it would not run.
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
        # Large enough for 8-point type to read like the page's own.
        "width": round(float(points_wide[1]) * 1.75) if points_wide else 800,
        "alt": figure.alt + (f" ({of})" if of else ""),
        "caption": figure.caption,
        "command": f"{start}/{Path(path).name}" if start else "",
    }


def without_place(pictures: Sequence[Mapping], sections: Container[str], parts: Sequence[Mapping]) -> list[Mapping]:
    """The pictures that no section on the page shows, so that none is lost.

    sections: those on the page that show every picture of theirs; parts: what the page has of single ablations and
    benchmarks, each with the pictures that it shows.
    """
    shown = {picture["name"] for part in parts for picture in part["pictures"]}
    return [one for one in pictures if one["section"] not in sections and one["name"] not in shown]


def command(run: str, configfile: str | None = None) -> str:
    """What starts the workflow on this run's config."""
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


def plain(value: object) -> object:
    """The same content in JSON's types, so that it can be printed."""
    return json.loads(json.dumps(value, default=str))
