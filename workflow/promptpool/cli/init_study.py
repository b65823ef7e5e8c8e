"""`promptpool init`: from files of texts to a study that is validated and costed."""

import argparse
import re
import sys
from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import pandas as pd
import yaml

from ..artifacts.files import atomic_path
from ..config.resolve import resolve
from ..errors import PromptpoolError
from ..study.plan import cpu_hours, gpu_hours, rows, start_hours
from ..study.plan_sizes import model_size
from ..study.study import Study
from .find_columns import Column, columns_of, label_column, text_column
from .from_scratch import SAMPLE_FILE, copy_model, from_scratch
from .machine_checks import gpus
from .study_defaults import grid_length, pair_styles, training_defaults
from .study_text import Draft, StudySource, study_text, write_schema
from .text_facts import TextFacts, text_facts
from .user_file import UserFile, read_user_file

_FOLDER = "texts"  # of the two parts that a labelled file is cut into
SCORED = 1_000  # labelled texts to be scored on, at most half of a file
_MOST_LABELS = 50  # that are scored: the most frequent ones
FEWEST_PER_LABEL = 5
CPU_MODEL = 0.7e9  # parameters; larger ones take hours on a CPU


@dataclass(frozen=True)
class Seen:
    """A file with the columns that were found in it."""

    file: UserFile
    text: Column
    label: Column | None
    facts: TextFacts


def init_study(given: argparse.Namespace) -> int:
    """Writes a study for the files, checks it, and says what was seen, what was chosen and what it will cost."""
    target = Path(given.study)
    if given.from_scratch == "sample":
        target = target.with_name(SAMPLE_FILE)
    if target.exists() and not given.yes and not _agreed(f"{target} exists; overwrite it?"):
        raise PromptpoolError(f"{target}: exists; overwrite it with --yes, or write another with --study")
    if given.from_scratch:
        return from_scratch(given.from_scratch, target)
    if not given.files:
        raise PromptpoolError("init: name a file of texts, or write the demo's study with --from-scratch demo")
    seen = [look_at_file(path, given.text, given.label) for path in given.files]
    for one in seen:
        label = f"labels: {one.label.name!r} ({one.label.distinct} different)" if one.label else "no labels"
        print(f"{one.file.path}: texts: column {one.text.name!r}, {one.facts.in_words()}; {label}")
    gpu = given.gpu_memory * 1e9 if given.gpu_memory else next((one.memory for one in gpus()), None)
    model, note = choose_model(given.model, target.parent)
    parameters = model_size(model["path"])["parameters"]
    corpora, tasks, learnt = sort_files(seen, target.parent)
    draft = Draft(
        run=run_name(given.files[0]), model=model, model_note=note, corpora=corpora, tasks=tasks,
        styles=pair_styles(learnt), training=training_defaults(learnt, parameters, gpu),
        length=grid_length(learnt, gpu),
    )  # fmt: skip
    target.parent.mkdir(parents=True, exist_ok=True)
    write_schema(target.parent)
    with atomic_path(target) as temporary:
        temporary.write_text(study_text(draft), encoding="utf-8")
    study = Study(resolve(yaml.safe_load(target.read_text(encoding="utf-8")), str(target)))
    print(f"Wrote {target}: {'scored on labels, and judged' if tasks else 'judged'} on held-out pairs.")
    print(cost(study, gpu))
    if not gpu and parameters > CPU_MODEL:
        print(f"{model['path']} is large for a CPU; a smaller model, or a GPU, takes minutes instead.")
    print("Next: promptpool plan (what is missing, in full), promptpool run")
    return 0


def look_at_file(path: str, text: str | None, label: str | None) -> Seen:
    """A file and its columns. Raises PromptpoolError, one line, for one that no study can be made from."""
    file = read_user_file(path)
    columns = columns_of(file.table)
    found = text_column(path, columns, text)
    facts = text_facts(file.table[found.name].tolist())
    if facts.count < 100:
        raise PromptpoolError(
            f"{path}: column {found.name!r} has {facts.count} different texts; a study needs at least 100"
        )
    return Seen(file, found, label_column(path, columns, found, label), facts)


def choose_model(asked: str | None, folder: Path) -> tuple[dict[str, object], str]:
    """`name`, `path`, `revision` of the model, and a comment."""
    if asked is None:
        path = copy_model(folder)
        return {
            "name": "nano-docs",
            "path": path,
        }, "5 M parameters, shipped; for real use --model, such as Qwen/Qwen3-0.6B"
    name, _, revision = asked.partition("@")
    if Path(name).expanduser().is_dir():
        return {"name": safe_name(Path(name).name), "path": name}, "your directory"
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise PromptpoolError(f"--model: {asked!r} is neither a directory nor a hub id such as Qwen/Qwen3-0.6B")
    note = "pinned" if revision else "its branch `main` is pinned to a commit at the first run"
    return {"name": safe_name(name.rpartition("/")[2]), "path": name, "revision": revision or "main"}, note


def sort_files(seen: Sequence[Seen], folder: Path) -> tuple[dict[str, StudySource], dict[str, StudySource], TextFacts]:
    """What is learnt from and what is scored on, each by its name in the study, and the facts of the first of the
    former.

    Files without labels are learnt from, and those with labels are scored on. If all have labels, the first is cut in
    two, and both parts are written below `folder`.
    """
    plain, labelled = ([one for one in seen if bool(one.label) == which] for which in (False, True))
    corpora: dict[str, StudySource] = {}
    tasks: dict[str, StudySource] = {}
    for one in plain:
        source = StudySource(one.file.path, one.text.name, one.facts.in_words())
        corpora[unused(run_name(one.file.path), corpora)] = source
    facts = plain[0].facts if plain else None
    if not plain:
        corpora["texts"], tasks["labels"], facts = halves_of(labelled.pop(0), folder / _FOLDER)
    for one in labelled:
        note = f"{one.facts.in_words()}; {one.label.distinct} labels"
        source = StudySource(one.file.path, one.text.name, note, one.label.name)
        tasks[unused(run_name(one.file.path), tasks)] = source
    return corpora, tasks, facts


def halves_of(seen: Seen, folder: Path) -> tuple[StudySource, StudySource, TextFacts]:
    """A labelled file as two: texts to learn from, texts to be scored on, and the facts of the former."""
    texts, scored = cut_in_two(seen)
    paths = folder / "learn.csv", folder / "labelled.csv"
    for path, table in zip(paths, (texts, scored), strict=True):
        with atomic_path(path) as temporary:
            table.to_csv(temporary, index=False)
    facts, labels = text_facts(texts["text"].tolist()), scored["label"].nunique()
    held = f"{len(scored):,} other texts of {seen.file.path} with {labels} labels, which training does not see"
    learnt = StudySource(str(paths[0]), "text", f"from {seen.file.path}: {facts.in_words()}")
    return learnt, StudySource(str(paths[1]), "text", held, "label"), facts


def cut_in_two(seen: Seen) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(texts to learn from, texts with labels to be scored on). A text is in one of them; the draw is seeded."""
    table = seen.file.table[[seen.text.name, seen.label.name]].set_axis(["text", "label"], axis=1)
    table = table[table["text"].map(lambda cell: bool(cell and cell.strip()))]
    table = table[~table["text"].map(lambda text: " ".join(text.split()).casefold()).duplicated()]
    with_label = table[table["label"].map(lambda cell: bool(cell and cell.strip()))]
    counts = with_label["label"].value_counts()
    kept = counts[counts >= FEWEST_PER_LABEL].index[:_MOST_LABELS]
    able = with_label[with_label["label"].isin(kept)]
    if len(kept) < 2:
        advice = "use --label none, or add labelled texts"
        raise PromptpoolError(f"{seen.file.path}: fewer than two labels have {FEWEST_PER_LABEL} texts; {advice}")
    share = min(0.5, SCORED / len(able))
    scored = able.groupby("label").sample(frac=share, random_state=42).sort_index()
    return table.drop(index=scored.index)[["text"]], scored


def cost(study: Study, gpu: float | None) -> str:
    """One line: jobs, and hours of what will run them."""
    found = list(rows(study))
    jobs = sum(row.jobs for row in found)
    if gpu:
        hours = sum(gpu_hours(row, "A100-80GB") + start_hours(row) for row in found)
        return f"Cost: {jobs} jobs with models, dozens of short ones; about {60 * hours:.0f} GPU-minutes of an A100."
    hours = sum(map(cpu_hours, found))
    starts = 5 / 3600 * (jobs + 20)  # a short job takes about 5 seconds of a core
    return f"Cost: {jobs} jobs with models, dozens of short ones; about {60 * (hours + starts):.0f} core-minutes."


def run_name(path: str) -> str:
    return safe_name(Path(path).name.partition(".")[0])


def safe_name(name: str) -> str:
    """A name that paths and the study take."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_") or "study"


def unused(name: str, taken: Container[str]) -> str:
    """The name, with the first number that makes it another than those that are taken."""
    numbered = (f"{name}-{number}" for number in count(2))
    return next(one for one in chain([name], numbered) if one not in taken)


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        return False
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
