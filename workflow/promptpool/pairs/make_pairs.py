"""The pairs stage, first half: writes a positive for every anchor, shard by shard, and retries unfit ones."""

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from ..artifacts.files import (
    atomic_path,
    content_digests,
    content_identity,
    remove,
    sidecar_path,
    sweep,
    text_digest,
    write_sealed,
    write_table,
)
from ..artifacts.integrity import sealed
from ..errors import PromptpoolError
from ..generation.backend import FAULTS, Backend, Progress, Request, WriterSetup, open_backend
from ..models.checkpoint import Checkpoint
from ..templates import SLOT
from .anchors import pick_anchors
from .augmentation import halves, noisers
from .filters import judge_pairs
from .styles import ECHOING_STYLES, FIXED_STYLES, TEXT_STYLES, needs_chat, turns, writes_query

WRITTEN = ["text", "positive", "style", "source_id", "reason", "attempts", "prompt_tokens", "tokens", "cut", "seconds"]
ANCHOR = ["text", "document", "given", "style", "repeat"]
REASON_REMEDIES = {
    "thinking": "switch the model's thinking off, or raise max_new_tokens",
    "cut": "raise max_new_tokens, or set filters.cut to false",
    "too-long": "take shorter texts, or a model with a longer context",
    "refused": "look at the server's answers in the log, or take other texts",
    "filtered": "take other texts, or another server",
    "failed": "look at the server's own log",
}

NOT_ASKED = {"prompt_tokens": 0, "tokens": 0, "fault": None, "settled": False, "cut": False}


def make_pairs(
    corpus: str,
    out: str,
    *,
    name: str,
    spec: Mapping,
    writer: Checkpoint | None = None,
    options: Mapping | None = None,
    shard_size: int = 2000,
    code: object = None,
    closeness: Callable[[list[str], list[str]], np.ndarray] | None = None,
) -> None:
    """Writes every pair of a set, fit or not: `text`, `positive`, `style`, `source_id`, `reason` (None if fit),
    `attempts`, `prompt_tokens`, `tokens` (written by the language model), `cut` (whether max_new_tokens cut it) and
    `seconds` (its share of its shard's). Of a style that writes queries, the query is the text, and the corpus's text
    the positive.

    spec: `Study.pairs_spec`. writer: the language model, None if none writes. options: how its backend runs, which
    changes no text. code: what else the texts depend on. closeness: (texts, positives) -> cosines [n], for the filter
    `semantic`. A killed job resumes from the finished shards in `shards`, a folder beside `out`. The shards of the
    latest settings stay there, so that a larger count adds to them.
    """
    started = time.time()
    anchors = pick_anchors(pd.read_parquet(corpus), spec, f"pairs.{name}")
    settings = {key: value for key, value in spec.items() if key not in ("count", "corpus", "column")}
    identity = content_identity(writer.model, writer.revision) if writer else ""
    dtype = writer.dtype if writer else "auto"
    shards = Path(out).parent / "shards"
    folder = shards / text_digest(f"{sorted(settings.items())}\0{identity}\0{dtype}\0{code}")[:16]
    cut = [anchors.iloc[start : start + shard_size] for start in range(0, len(anchors), shard_size)]
    paths = [folder / f"{place:05d}-{_rows_digest(rows)}.parquet" for place, rows in enumerate(cut)]
    sweep(folder)
    left = [(path, rows) for path, rows in zip(paths, cut, strict=True) if not sealed(path)]
    with (
        _opened(spec, left, writer, options) as backend,
        tqdm(total=len(anchors), desc=f"pairs {name}", unit="text", mininterval=2) as bar,
    ):
        bar.update(len(anchors) - sum(len(rows) for _, rows in left))
        held: list[tuple[Path, pd.DataFrame]] = []
        for path, rows in left:
            held.append((path, write_shard(rows, spec, backend, partial(_tell, bar))))
            # Shards with only faults wait for a first answer: a server's refusal of everything must not be kept.
            if path == left[-1][0] or not held[-1][1]["reason"].isin(FAULTS).all():
                _keep(held)
            bar.update(len(rows))
    table = pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)
    if spec["filters"]["semantic"]:
        drop_distant(table, spec["filters"]["semantic"]["min"], closeness)
    turn_queries(table, [style for style, wording in spec["wording"].items() if writes_query(wording)])
    if table["reason"].notna().all():
        worst = Counter(table["reason"]).most_common(1)[0][0]
        remedy = REASON_REMEDIES.get(worst, "change the style, the model or the filters")
        raise PromptpoolError(f"pairs.{name}: no pair passed the filters, most often {worst!r}; {remedy}")
    write_table(
        out, table, inputs=[corpus], spec=spec, started=started, seed=spec["seed"],
        base_model=writer and writer.model, model_identity=identity or None, writer=writer_of(backend),
    )  # fmt: skip
    for other in shards.iterdir():
        if other != folder:
            remove(other)


def _keep(held: list[tuple[Path, pd.DataFrame]]) -> None:
    """Writes and seals the shards, and empties the list."""
    while held:
        path, table = held.pop(0)
        with atomic_path(path) as temporary:
            table.to_parquet(temporary, index=False)
        write_sealed(sidecar_path(path), content_digests(path))


def writer_of(backend: object) -> dict | None:
    """The device and number type with which a set was written; None if a server wrote it, or all shards existed."""
    if hasattr(backend, "facts"):  # of vLLM's worker
        return backend.facts
    if not hasattr(backend, "place"):
        return None
    from ..models.precision import Precision, in_words, processor

    precision = in_words(Precision(backend.kind))
    return {"device": str(backend.place), "precision": precision, "processor": processor(backend.place)}


def _tell(bar: tqdm, done: int, total: int) -> None:
    bar.set_postfix_str(f"{done} of {total} of a shard")


def write_shard(
    anchors: pd.DataFrame, spec: Mapping, backend: Backend | None, progress: Progress | None = None
) -> pd.DataFrame:
    """The columns WRITTEN for some anchors, in their order. An unfit positive is tried again with a new seed."""
    started = time.time()
    rows = anchors.reset_index(drop=True).assign(positive="", reason=None, attempts=0, **NOT_ASKED)
    rows[["reason", "fault"]] = rows[["reason", "fault"]].astype(object)
    left = rows.index
    for attempt in range(1, spec["retries"] + 2):
        part = write_once(rows.loc[left], spec, attempt, backend, progress)
        part["reason"] = pd.Series(_judged(part, spec), index=part.index, dtype=object)
        part["attempts"] = attempt
        for column in ("prompt_tokens", "tokens"):  # the cost of failed tries counts
            part[column] += rows.loc[left, column]
        rows.loc[left, part.columns] = part
        changes = rows["style"].map(lambda style: _may_change(style, spec))
        left = rows.index[rows["reason"].notna() & changes & ~rows["settled"].astype(bool)]
        if left.empty:
            break
    rows["seconds"] = (time.time() - started) / max(1, len(rows))
    return rows[WRITTEN]


def write_once(
    rows: pd.DataFrame, spec: Mapping, attempt: int, backend: Backend | None, progress: Progress | None = None
) -> pd.DataFrame:
    """The rows with `text` and `positive` set, and the tokens that this took. A row's seed depends on its text."""
    noise = noisers(spec["noise"])
    texts, positives = [], []
    for text, document, given, style, repeat in zip(*(rows[key] for key in ANCHOR), strict=True):
        positive = ""
        if style == "halves":
            text, positive = halves(text, document)
        elif style in ("identity", "dataset"):
            positive = text if style == "identity" else given or ""
        elif style in noise:
            drawn = seed_of(spec["seed"], style, text, attempt, repeat)
            positive = noise[style](text, random.Random(drawn))
        texts.append(text)
        positives.append(positive)
    rows = rows.assign(text=texts, positive=positives, **NOT_ASKED)
    rows["fault"] = rows["fault"].astype(object)
    asked = rows.index[~rows["style"].isin(TEXT_STYLES)]
    if len(asked):
        _ask(rows, asked, spec, attempt, backend, progress)
    return rows


def seed_of(seed: int, style: str, text: str, attempt: int, repeat: int = 0) -> int:
    """The seed of one text's draw, 31 bits. It does not depend on the text's order, batch or shard.

    repeat: how many earlier draws of this style the text has.
    """
    style = f"{style}\0{repeat}" if repeat else style
    return int(text_digest(f"{seed}\0{style}\0{attempt}\0{text}")[:8], 16) >> 1


def _ask(rows: pd.DataFrame, asked: pd.Index, spec: Mapping, attempt: int, backend: Backend, progress) -> None:
    """Lets the backend write the positives of the rows `asked`, in place: all styles of one turn together."""
    wording = {style: spec["wording"][style] for style in rows.loc[asked, "style"].unique()}
    answers = rows.loc[asked, "text"].to_dict()
    for turn in range(max(len(turns(value)) for value in wording.values())):
        going = [
            place
            for place in asked
            if answers[place].strip() and len(turns(wording[rows.at[place, "style"]])) > turn
        ]  # fmt: skip
        requests = [
            Request(
                turns(wording[style])[turn].replace(SLOT, answers[place]),
                chat=needs_chat(wording[style]),
                seed=seed_of(spec["seed"], f"{style}:{turn}", text, attempt, repeat),
                again=attempt > 1,
            )
            for place, text, style, repeat in rows.loc[going, ["text", "style", "repeat"]].itertuples()
        ]
        for place, written in zip(going, backend.write(requests, progress), strict=True):
            answers[place] = written.text
            rows.at[place, "prompt_tokens"] += written.prompt_tokens
            rows.at[place, "tokens"] += written.tokens
            rows.at[place, "fault"], rows.at[place, "settled"] = written.fault, written.settled
            rows.at[place, "cut"] |= bool(written.tokens) and not written.finished
    rows.loc[asked, "positive"] = [answers[place] for place in asked]


def _judged(rows: pd.DataFrame, spec: Mapping) -> list[str | None]:
    """The backend's own fault, else the filters' reason. A plain prefix has no end that could be cut off. A query may
    be as short as it likes beside its text.
    """
    chats = {style for style, wording in spec["wording"].items() if needs_chat(wording)}
    instructions = {style: turns(wording)[-1] for style, wording in spec["wording"].items()}
    asked = rows["style"].isin([style for style, wording in spec["wording"].items() if writes_query(wording)])
    bounds = spec["filters"]["length_ratio"]
    brief = {**spec["filters"], "length_ratio": bounds and [0, bounds[1]]}
    reasons = rows["fault"].copy()
    for part, filters in ((rows[~asked], spec["filters"]), (rows[asked], brief)):
        found = judge_pairs(
            part["text"].tolist(), part["positive"].tolist(), part["style"].tolist(), filters, instructions,
            echoing=ECHOING_STYLES, cut=(part["cut"] & part["style"].isin(chats)).tolist(),
        )  # fmt: skip
        reasons[part.index] = [fault or reason for fault, reason in zip(part["fault"], found, strict=True)]
    return reasons.tolist()


def _may_change(style: str, spec: Mapping) -> bool:
    """Whether another seed can write something else."""
    return style not in FIXED_STYLES and (style in TEXT_STYLES or spec["temperature"] > 0)


def closeness_by(judge: Mapping, device: str) -> Callable[[list[str], list[str]], np.ndarray]:
    """An embedder's `closeness` for make_pairs; see semantic.similarities."""
    # Looked up by name, not imported by a statement: a set without a judge then has no embedder's code in its digest.
    return partial(import_module(f"{__package__}.semantic").similarities, spec=judge, device=device)


def drop_distant(table: pd.DataFrame, least: float, closeness: Callable[[list[str], list[str]], np.ndarray]) -> None:
    """Sets `semantic` as the reason of fit pairs whose cosine is below `least`, in place."""
    fit = table.index[table["reason"].isna()]
    if len(fit):
        near = closeness(*(table.loc[fit, column].tolist() for column in ("text", "positive")))
        table.loc[fit[near < least], "reason"] = "semantic"


def turn_queries(table: pd.DataFrame, styles: Sequence[str]) -> None:
    """Makes what these styles wrote the pair's text, and what they were asked for the positive, in place."""
    asked = table["style"].isin(list(styles))
    table.loc[asked, ["text", "positive"]] = table.loc[asked, ["positive", "text"]].to_numpy()


def _rows_digest(rows: pd.DataFrame) -> str:
    """Identifies a shard's rows, so that a changed corpus does not reuse an old shard."""
    columns = [rows[column].fillna("") for column in ("source_id", "style", "text", "document", "given")]
    return text_digest("\0".join("\1".join(row) for row in zip(*columns, strict=True)))[:16]


@contextlib.contextmanager
def _opened(spec: Mapping, left, writer: Checkpoint | None, options: Mapping | None) -> Iterator[Backend | None]:
    """The set's backend, if an unfinished shard needs one."""
    if not spec["wording"] or not left:
        yield None
        return
    sampling = {key: spec[key] for key in ("max_new_tokens", "temperature", "top_p")}
    chat = any(needs_chat(wording) for wording in spec["wording"].values())
    model = (writer.model, writer.revision)
    setup = WriterSetup(*model, sampling, options or {}, chat, device=writer.device, dtype=writer.dtype)
    with open_backend(spec["backend"], setup) as backend:
        yield backend
