"""The negatives stage: hard negatives of an adapter's pairs, from the user's file or mined among the positives."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

import numpy as np
import pandas as pd

from ..artifacts.files import write_json, write_table
from ..errors import PromptpoolError
from ..text.near_duplicates import Shingles, shingled
from ..text.normalisation import normalise
from .mining import mine, partners, word_vectors
from .negatives_qc import negatives_quality
from .select_pairs import find_contamination

GIVEN = "given"
NEGATIVES = ["text", "positive", "negative", "place", "rank", "similarity"]
SPARE = 4  # mined beyond `count`, in place of those that a check takes out


def choose_negatives(
    out: str,
    qc: str,
    *,
    pairs: Sequence[str],
    corpora: Sequence[str],
    tasks: Mapping[str, str],
    name: str,
    spec: Mapping,
    encode: Callable[[Sequence[str]], np.ndarray] | None = None,
) -> None:
    """Writes the negatives (NEGATIVES; of each pair in the order of choice) and qc.json (`negatives_quality`).

    pairs: the adapter's sets; corpora: of each set, for negatives that are given; tasks: name -> its texts.parquet.
    spec: `Study.negatives_spec`. encode: texts -> vectors, by which negatives are mined; None counts words (TF-IDF).
    place: 1 to `count`; rank: among the candidates, 0 if given; similarity: the cosine of text and negative.
    A negative is dropped if it is the text or a positive of it (`same`), repeats another one of its pair (`duplicate`),
    nearly equals one of these (`near-duplicate`), or is nearly a task's text (`contaminated`).
    Raises PromptpoolError for contamination if the study says so, and if no negative is left.
    """
    started = time.time()
    where = f"adapters.{name}.hard_negatives"
    table = pd.concat([pd.read_parquet(path).assign(set=i) for i, path in enumerate(pairs)], ignore_index=True)
    table = table.drop_duplicates(["text", "positive"], ignore_index=True)
    if spec["from"] == GIVEN:
        found = given_negatives(table, [pd.read_parquet(path) for path in corpora], where)
        table, found = with_similarities(table, found)
    else:
        table, found = mined_negatives(table, spec, encode)
    found["reason"] = None
    drop_repeated_negatives(table, found, spec["near_duplicate"])
    hits = contaminated_negatives(found, tasks, spec["contamination"]["near"])
    if hits and spec["contamination"]["action"] == "fail":
        text, (task, hit) = next(iter(hits.items()))
        raise PromptpoolError(
            f"{where}: {len(hits)} negatives hold a task's text, the first {text[:80]!r} ({hit.kind}, task {task}); "
            "remove it from the corpus, or set contamination.action of the pairs to remove"
        )
    found.loc[found["reason"].isna() & found["negative"].isin(list(hits)), "reason"] = "contaminated"
    good = found[found["reason"].isna()].copy()
    good["place"] = good.groupby("row").cumcount() + 1
    good = good[good["place"] <= spec["count"]]
    if good.empty:
        raise PromptpoolError(f"{where}: no pair has a negative; {_remedy(found)}")
    good[["text", "positive"]] = table.loc[good["row"], ["text", "positive"]].to_numpy()
    inputs = [*pairs, *corpora, *tasks.values()]
    write_table(out, good[NEGATIVES], inputs=inputs, spec=spec, started=started, pairs=len(table))
    write_json(qc, negatives_quality(table, good, found, hits, spec))


def encoder_by(judge: Mapping, device: str) -> Callable[[Sequence[str]], np.ndarray]:
    """An embedder's `encode`; see semantic.load_encoder. Loaded when it is first called."""
    # Looked up by name, not imported by a statement: mining by words then has no embedder's code in its digest.
    return lambda texts: import_module(f"{__package__}.semantic").load_encoder(judge, device)(texts)


def given_negatives(table: pd.DataFrame, corpora: Sequence[pd.DataFrame], where: str) -> pd.DataFrame:
    """Columns row (of the pair), negative, rank: what the pair's corpus brings with its text, in the file's order."""
    by_source: dict[tuple[int, str], list[str]] = {}
    for number, corpus in enumerate(corpora):
        columns = [column for column in corpus if str(column).startswith("negative_")]
        for source, *texts in corpus[["id", *columns]].itertuples(index=False):
            by_source.setdefault((number, source), []).extend(text for text in texts if pd.notna(text))
    own = [by_source.get(key, []) for key in zip(table["set"], table["source_id"], strict=True)]
    rows = np.repeat(np.arange(len(table)), list(map(len, own)))
    if not len(rows):
        raise PromptpoolError(
            f"{where}: no pair has a negative; fill the column that corpora.<name>.negative names, or write from: mined"
        )
    return pd.DataFrame({"row": rows, "negative": [text for texts in own for text in texts], "rank": 0})


def with_similarities(table: pd.DataFrame, found: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both with the column `similarity`, cosines of TF-IDF: of a pair's two texts, and of a text and its negative."""
    documents = list(dict.fromkeys([*table["positive"], *found["negative"]]))
    place = {text: number for number, text in enumerate(documents)}
    queries, candidates = word_vectors(table["text"].tolist(), documents)

    def cosines(rows: np.ndarray, texts: pd.Series) -> np.ndarray:
        return np.asarray(queries[rows].multiply(candidates[texts.map(place).to_numpy()]).sum(axis=1)).ravel()

    return (
        table.assign(similarity=cosines(np.arange(len(table)), table["positive"])),
        found.assign(similarity=cosines(found["row"].to_numpy(), found["negative"])),
    )


def mined_negatives(
    table: pd.DataFrame, spec: Mapping, encode: Callable[[Sequence[str]], np.ndarray] | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The pairs with the column `similarity`, and columns row, negative, rank, similarity of the candidates found."""
    places: dict[str, int] = {}
    own = np.array([places.setdefault(normalise(text), len(places)) for text in table["positive"]])
    documents = table["positive"].iloc[np.unique(own, return_index=True)[1]].tolist()
    texts = list(dict.fromkeys(table["text"]))
    rows = table["text"].map({text: number for number, text in enumerate(texts)}).to_numpy()
    queries, candidates = _unit(encode, texts, documents) if encode else word_vectors(texts, documents)
    barred = partners(*(table[name].tolist() for name in ("text", "positive", "source_id")), places)
    bounds = {**spec, "count": spec["count"] + SPARE}
    similarity = np.empty(len(table), dtype=np.float32)
    mined = mine(queries[rows], candidates, own, barred, bounds, similarity)
    found = pd.DataFrame({"row": mined.rows, "negative": [documents[n] for n in mined.documents],
                          "rank": mined.ranks, "similarity": mined.similarities})  # fmt: skip
    return table.assign(similarity=similarity), found


def _unit(
    encode: Callable[[Sequence[str]], np.ndarray], texts: list[str], documents: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    unique = list(dict.fromkeys([*texts, *documents]))
    vectors = np.asarray(encode(unique), dtype=np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    place = {text: number for number, text in enumerate(unique)}
    return vectors[[place[text] for text in texts]], vectors[[place[text] for text in documents]]


def drop_repeated_negatives(table: pd.DataFrame, found: pd.DataFrame, near: float | None) -> None:
    """Sets the reasons `same`, `duplicate` and `near-duplicate`, in place. near: the Jaccard index that counts."""
    positives: dict[str, set[str]] = {}
    for text, positive in zip(table["text"], table["positive"], strict=True):
        positives.setdefault(text, set()).add(normalise(positive))
    unique = list(dict.fromkeys([*table["text"], *table["positive"], *found["negative"]]))
    place = {text: number for number, text in enumerate(unique)}
    sets = shingled(unique) if near is not None else None
    reasons: list[str | None] = []
    row, seen, kept = None, set(), []
    texts, own = table["text"].to_numpy(), table["positive"].to_numpy()
    for number, negative in zip(found["row"], found["negative"], strict=True):
        if number != row:
            row, seen, kept = number, set(), [texts[number], own[number]]
        key = normalise(negative)
        reason = "same" if key in positives[texts[row]] or key == normalise(texts[row]) or not key else None
        reason = reason or ("duplicate" if key in seen else None)
        if reason is None and near is not None and any(nearly(sets, place[negative], place[k], near) for k in kept):
            reason = "near-duplicate"
        if reason is None:
            seen.add(key)
            kept.append(negative)
        reasons.append(reason)
    found["reason"] = pd.Series(reasons, index=found.index, dtype=object)


def nearly(sets: Shingles, one: int, other: int, threshold: float) -> bool:
    """Whether two texts' sets of shingles have a Jaccard index of at least `threshold`."""
    a, b = sets.of(one), sets.of(other)
    if not len(a) or not len(b) or min(len(a), len(b)) < threshold * max(len(a), len(b)):
        return False
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / (len(a) + len(b) - common) >= threshold


def contaminated_negatives(found: pd.DataFrame, tasks: Mapping[str, str], near: float | None) -> dict:
    """Negative -> (task, how) of those that are, or nearly are, a task's text."""
    unique = found.loc[found["reason"].isna(), "negative"].drop_duplicates()
    hits = find_contamination(pd.DataFrame({"text": unique, "reason": None}), tasks, near, columns=["text"])
    return {unique[place]: hit for place, hit in hits.items()}


def _remedy(found: pd.DataFrame) -> str:
    counts = Counter(found["reason"].dropna())
    if counts:
        return f"most were dropped as {counts.most_common(1)[0][0]!r}; take other texts"
    return "none lies within ranks, margin, relative_margin and max_similarity; widen them"
