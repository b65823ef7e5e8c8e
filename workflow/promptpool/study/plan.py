"""Estimates a study's costs before it runs: jobs, texts, tokens, FLOPs, GPU-hours, disk. Also lists what is missing.

Counts come from the config and from MTEB's own statistics. If only a guess is possible, the row says so.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..artifacts.files import atomic_path
from ..config.adapters import untrained
from ..scoring.embed_baseline import EMBEDDED
from .detectable import detectable_lines, study_detectable
from .plan_checks import missing
from .plan_sizes import assumptions, layers_run, model_size, tokens_of
from .study import Study
from .text_sizes import TextSize, task_size

FORWARD, TRAINED = 2, 8  # FLOPs per token and parameter: one pass; two passes and the backward pass through all layers
WORDS_A_TOKEN = 0.75  # of English, about
LORA_WIDTHS = 20  # rows and columns that LoRA on all linear layers adds, in hidden sizes per layer


@dataclass(frozen=True)
class Row:
    """One stage's cost, with the jobs as they will run. texts and tokens: what models read and write; flops: only the
    models'; disk: bytes kept.
    """

    stage: str
    jobs: int
    texts: float = 0
    tokens: float = 0
    flops: float = 0
    disk: float = 0
    use: str | None = None  # which utilisation
    note: str = ""
    starts: int = 0  # jobs that start a model


def rows(study: Study) -> Iterator[Row]:
    """The stages, in the order of the workflow."""
    sizes = {name: model_size(spec["path"]) for name, spec in study["models"].items()}
    yield Row("corpora", len(study["corpora"]))
    yield Row("tasks", len(study["tasks"]) + len(study.synthetic_searches()))
    yield _pairs(study, sizes)
    yield _adapters(study, sizes)
    yield _embeddings(study, sizes)
    yield _verdict(study, sizes)
    rivals = sum(spec["kind"] in EMBEDDED for spec in study["baselines"].values())  # embedded, then scored
    jobs = len(study.grid_jobs()) + len(study["baselines"]) + rivals + (3 if study.choice_tables() else 0)
    if study.readouts():  # the statistics of each checkpoint, then the readouts' scores
        jobs += len(study.states()) + len(study.grid_jobs()) + len(study.lexical_parts())
    yield Row("scores", jobs, starts=rivals)
    yield _attention(study, sizes)
    disk = sum(4 * _size_of(sizes, spec["model"])["parameters"] for spec in study["exports"].values() if spec["merged"])
    jobs = 2 * len(study["exports"]) + len(study.served_exports())
    yield Row("models", jobs, disk=disk, starts=jobs)


def _size_of(sizes: Mapping, model: str) -> dict:
    return sizes.get(model) or model_size(model)


def _pairs(study: Study, sizes: Mapping) -> Row:
    texts = tokens = flops = 0.0
    notes = []
    for name, spec in study["pairs"].items():
        count = (spec["count"] or 1_000_000) * spec["per_text"]
        if spec["count"] is None:
            notes.append(f"{name}: all texts, assumed to be a million")
        texts += count
        if study.pairs_spec(name)["wording"]:
            # The model reads text and instruction and writes the answer. Retries repeat rejected ones.
            each = 2 * assumptions()["tokens_of_unknown_text"] + spec["max_new_tokens"]
            turns = 2 if "backtranslate" in spec["styles"] else 1
            tokens += count * each * turns
            flops += count * each * turns * FORWARD * _size_of(sizes, spec["model"])["parameters"]
    jobs = 2 * len(study["pairs"])
    starts = sum(bool(study.pairs_gpus(name)) + bool(study.finder(name)) for name in study["pairs"])
    note = "; ".join(notes)
    return Row("pairs", jobs, texts, tokens, flops, disk=texts * 600, use="write", note=note, starts=starts)


def _adapters(study: Study, sizes: Mapping) -> Row:
    texts = tokens = flops = disk = 0.0
    notes = []
    for name in study.trainings():
        spec = study.adapter(name)
        if untrained(spec):
            continue
        size = sizes[spec["model"]]
        steps = spec["max_steps"]
        if steps is None:
            steps = max(spec["steps"])
            notes.append(f"{name}: its length is in epochs; assumed to be {steps} steps")
        seen = 2.0 * steps * spec["batch_size"]
        each = min(spec["max_text_tokens"], assumptions()["tokens_of_unknown_text"])
        each += tokens_of(study.longest_template(spec["prompt"]))
        ran = layers_run(spec["layer"], size["layers"])
        texts += seen
        tokens += seen * each
        flops += seen * each * TRAINED * size["parameters"] * ran / size["layers"]
        weights = 4 * LORA_WIDTHS * size["hidden"] * ran * spec["lora"]["rank"]
        disk += 2 * weights * len(spec["steps"])  # the archive and the directory
    jobs, chosen = len(study.trainings()), len(study.with_negatives())
    return Row("adapters", 3 * jobs + chosen, texts, tokens, flops, disk, "train", "; ".join(notes), starts=jobs)


def _embeddings(study: Study, sizes: Mapping) -> Row:
    texts = tokens = flops = disk = 0.0
    grid, notes = study["grid"], set()
    vectors = len(grid["poolings"]) * len(grid["layers"])
    sizes_of_texts = [task_size(study, task) for task in study["tasks"]]
    for count in study.texts_beside_tasks(2 * assumptions()["held_out_pairs"]):
        sizes_of_texts.append(TextSize(count, assumptions()["tokens_of_unknown_text"]))
    for count, length, chunks, vectors_kept, note in sizes_of_texts:
        notes |= {note} if note else set()
        width = {"float32": 4, "float16": 2}.get(grid["storage"], 2 if count >= 100_000 else 4)
        for model, _ in study.states():
            for family in study.families.values():
                suffixes = sum(tokens_of(str(one).rpartition("{text}")[2]) + 1 for one in family.templates)
                texts += count
                each = length + chunks * suffixes
                tokens += count * each
                flops += count * each * FORWARD * sizes[model]["parameters"]
                disk += count * vectors_kept * sizes[model]["hidden"] * width * vectors * len(family.templates)
    jobs = len(study.grid_jobs())
    return Row("embeddings", jobs, texts, tokens, flops, disk, "embed", "; ".join(sorted(notes)), starts=jobs)


def _verdict(study: Study, sizes: Mapping) -> Row:
    """The two texts of every held-out pair, under the untuned model and each training."""
    trainings, jobs = study.judged_trainings(), len(study.verdict()[:1])
    if not trainings:
        return Row("verdict", jobs)
    spec, size = study.adapter(trainings[0]), sizes[study.adapter(trainings[0])["model"]]
    texts = 2 * assumptions()["held_out_pairs"] * 2 * len(trainings)
    tokens = texts * (assumptions()["tokens_of_unknown_text"] + tokens_of(study.longest_template(spec["prompt"])))
    flops, disk = tokens * FORWARD * size["parameters"], 4 * texts * size["hidden"]
    return Row("verdict", jobs, texts, tokens, flops, disk, "embed", starts=jobs)


def _attention(study: Study, sizes: Mapping) -> Row:
    if not (spec := study["attention"]):
        return Row("attention", 0)
    each = min(task_size(study, spec["task"]).tokens, study["grid"]["max_text_tokens"]) + 12
    again, left_out = 1 + spec["value_norms"], spec["omissions"] * each * WORDS_A_TOKEN
    a_state = (spec["texts"] * again + left_out) * len(spec["prompts"])
    states = study.attention_states()
    flops = sum(a_state * each * FORWARD * sizes[model]["parameters"] for model, _ in states)
    texts, jobs = a_state * len(states), len(states) * (again + bool(left_out))
    return Row("attention", jobs, texts, texts * each, flops, use="embed", starts=jobs)


def gpu_hours(row: Row, gpu: str) -> float:
    """Hours of one GPU of this name, at the utilisation assumed for the stage."""
    if not row.flops:
        return 0.0
    speed = assumptions()["gpus"][gpu]["tflops"] * 1e12 * assumptions()["utilisation"][row.use]
    return row.flops / speed / 3600


def start_hours(row: Row) -> float:
    """Hours that a stage's jobs hold a GPU before they compute: the same for every GPU."""
    return row.starts * assumptions()["start_seconds"] / 3600


def cpu_hours(row: Row) -> float:
    """Hours of one CPU core, at the speed measured for the stage."""
    return row.flops / assumptions()["cpu_core"][row.use] / 3600 if row.flops else 0.0


def _short(value: float) -> str:
    if not value:
        return "-"
    for limit, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.0f}"


def _hours(value: float) -> str:
    return "-" if not value else "<0.01" if value < 0.01 else f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def table(study: Study, visible: int = 0) -> str:
    """The plan as text: a row for each stage, the total, assumptions, what is missing. visible: GPUs here."""
    gpus = list(assumptions()["gpus"])
    found = list(rows(study))
    head = [
        "stage",
        "jobs",
        "texts",
        "tokens",
        "FLOPs",
        *(f"{gpu} h" for gpu in gpus),
        "start h",
        "CPU core h",
        "disk B",
    ]
    body = [_cells(row, gpus) for row in found]
    total = ["total", str(sum(row.jobs for row in found)), ""]
    total += [_short(sum(getattr(row, key) for row in found)) for key in ("tokens", "flops")]
    total += [_hours(sum(gpu_hours(row, gpu) for row in found)) for gpu in gpus]
    total += [_hours(sum(map(start_hours, found))), _hours(sum(map(cpu_hours, found)))]
    total.append(_short(sum(row.disk for row in found)))
    widths = [max(map(len, column)) for column in zip(head, *body, total, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(one, widths, strict=True)) for one in (head, *body, total)
    ]
    shares = ", ".join(f"{use} {share:.0%}" for use, share in assumptions()["utilisation"].items())
    notes = [row.note for row in found if row.note]
    guessed = [name for name, spec in study["models"].items() if model_size(spec["path"])["guess"]]
    notes += [f"size of {name} taken from its name" for name in guessed]
    problems = missing(study, sum(row.disk for row in found), _most_memory(study), visible)
    return "\n".join([
        f"Plan of the study {study['run']}, from scratch (`snakemake -n` says what is left to do)",
        *lines,
        "Some dozens of short jobs (tables, figures, the report) run as well.",
        f"GPU-hours: for one GPU, at its data sheet's bfloat16 peak times an assumed share of it: {shares}.",
        f"start h: GPU-hours on top, of jobs that start a model: {assumptions()['start_seconds']} s each, assumed.",
        "CPU core-hours: in float32, as measured. Both cover only models; k-means, t-SNE and the like come on top.",
        *(f"Note: {note}" for note in notes),
        *detectable_lines(study_detectable(study, assumptions()["detectable"])),
        *(f"Missing: {problem}" for problem in problems),
        *(["Nothing is missing."] if not problems else []),
    ]) + "\n"  # fmt: skip


def _cells(row: Row, gpus: list[str]) -> list[str]:
    hours = [_hours(gpu_hours(row, gpu)) for gpu in gpus] + [_hours(start_hours(row)), _hours(cpu_hours(row))]
    return [row.stage, str(row.jobs), *map(_short, (row.texts, row.tokens, row.flops)), *hours, _short(row.disk)]


def _most_memory(study: Study) -> float:
    """Bytes of a GPU that the largest model needs: twice its weights, to leave space for what is computed."""
    return max((4 * model_size(study["models"][m]["path"])["parameters"] for m in study["grid"]["models"]), default=0)


def plan(study: Study, out: str | Path, visible: int = 0) -> str:
    """Writes the plan to `out` (text) and, beside it, as .json, a row for each stage. Returns the text."""
    text = table(study, visible)
    with atomic_path(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    gpus = assumptions()["gpus"]
    listed = [
        {
            **vars(row),
            "gpu_hours": {gpu: gpu_hours(row, gpu) for gpu in gpus},
            "start_hours": start_hours(row),
            "cpu_core_hours": cpu_hours(row),
        }
        for row in rows(study)
    ]
    with atomic_path(Path(out).with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
    return text
