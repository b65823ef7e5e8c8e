"""The pairs stage: anchors from a corpus, a positive for each, filters that count what they drop."""

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from .artifacts import atomic_path, text_digest, write_json, write_sidecar
from .errors import PromptpoolError
from .filters import first_uses, rejection
from .generation import Backend, Request, open_backend
from .styles import TEXT_STYLES, halves, instructions


def make_pairs(
    corpus: str,
    out: str,
    rejected: str,
    qc: str,
    *,
    name: str,
    spec: Mapping,
    model: str | None = None,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
) -> None:
    """Writes pairs.parquet (`text`, `positive`, `style`, `source_id`), rejected.parquet (+ `reason`), qc.json.

    spec: one entry of `pairs:` in the config. Only the corpus's `train` rows are anchors.
    """
    started = time.time()
    anchors = pick_anchors(pd.read_parquet(corpus), spec, f"pairs.{name}")
    backend = None
    if spec["style"] not in TEXT_STYLES:
        backend = open_backend(
            "transformers", model, revision, spec, {"batch_size": spec["batch_size"]},
            device=device, dtype=dtype, needs_chat="chat" in instructions()[spec["style"]],
        )  # fmt: skip
    pairs = positives(anchors, spec, backend)
    pairs["reason"] = judge(pairs, spec)
    good = pairs[pairs["reason"].isna()].drop(columns="reason").reset_index(drop=True)
    if good.empty:
        worst = Counter(pairs["reason"]).most_common(1)[0][0]
        raise PromptpoolError(
            f"pairs.{name}: no pair passed the filters, most often {worst!r}; mend the style or the model"
        )
    bad = pairs[pairs["reason"].notna()].reset_index(drop=True)
    model_file = [str(Path(model) / "config.json")] if model and Path(model).is_dir() else []
    for path, table in ((out, good), (rejected, bad)):
        with atomic_path(path) as temporary:
            table.to_parquet(temporary, index=False)
        write_sidecar(
            path, inputs=[corpus, *model_file], spec=spec, started=started, seed=spec["seed"], rows=len(table)
        )
    write_json(qc, quality(pairs, time.time() - started))


def pick_anchors(corpus: pd.DataFrame, spec: Mapping, where: str) -> pd.DataFrame:
    """Columns `text` (the anchor), `document`, `source_id`: `count` rows drawn by digest, unique by anchor."""
    rows = corpus[corpus["split"] == "train"]
    if spec["column"] not in rows:
        raise PromptpoolError(f"{where}: the corpus has no column {spec['column']!r}; it has {', '.join(rows.columns)}")
    if rows.empty:
        raise PromptpoolError(f"{where}: corpus {spec['corpus']!r} has no text to train on; mend the corpus")
    table = pd.DataFrame({"text": rows[spec["column"]], "document": rows["text"], "source_id": rows["id"]})
    table = table.drop_duplicates("text")
    if spec["style"] == "halves" and spec["column"] == "summary":
        table = table[table["document"].str.contains("\n\n", regex=False)]
    order = table["source_id"].map(lambda key: text_digest(f"{spec['seed']}:{key}")).argsort()
    return table.iloc[order].head(spec["count"]).reset_index(drop=True)


def positives(anchors: pd.DataFrame, spec: Mapping, backend: Backend | None) -> pd.DataFrame:
    """Columns text, positive, style, source_id, one row an anchor."""
    style, texts = spec["style"], anchors["text"].tolist()
    if style == "identity":
        written = texts
    elif style == "halves":
        cut = [halves(a, d) for a, d in zip(texts, anchors["document"], strict=True)]
        texts, written = [pair[0] for pair in cut], [pair[1] for pair in cut]
    else:
        wording = instructions()[style]
        chat = "chat" in wording
        words = wording["chat" if chat else "plain"]
        requests = [
            Request(words.replace("{text}", text), chat, int(text_digest(f"{spec['seed']}:{text}")[:15], 16))
            for text in texts
        ]
        with tqdm(total=len(requests), desc=f"write {style}", unit="text", mininterval=2) as bar:
            answers = backend.write(requests, lambda done, total: bar.update(done - bar.n))
        written = [answer.text for answer in answers]
    return pd.DataFrame({"text": texts, "positive": written, "style": style, "source_id": anchors["source_id"]})


def judge(pairs: pd.DataFrame, spec: Mapping) -> pd.Series:
    """The reason to reject each pair, None where there is none. SimCSE's identity pairs echo by intent."""
    if spec["style"] == "identity":
        reasons = [None if text.strip() else "empty" for text in pairs["text"]]
    else:
        limits = {"min_words": spec["min_words"], "max_echo": spec["max_echo"]}
        reasons = [rejection(t, p, **limits) for t, p in zip(pairs["text"], pairs["positive"], strict=True)]
    fresh = first_uses(pairs["positive"].tolist())
    return pd.Series(
        [reason or (None if new else "duplicate") for reason, new in zip(reasons, fresh, strict=True)], dtype=object
    )


def quality(pairs: pd.DataFrame, seconds: float) -> dict:
    """qc.json: counts by reason, word counts, and how varied the accepted positives are (distinct-2)."""
    good = pairs[pairs["reason"].isna()]
    bigrams = [pair for text in good["positive"] for pair in zip(text.split(), text.split()[1:], strict=False)]
    return {
        "asked": len(pairs),
        "accepted": len(good),
        "rejected": dict(sorted(Counter(pairs["reason"].dropna()).items())),
        "words": {side: _histogram(good[side]) for side in ("text", "positive")},
        "distinct_2": round(len(set(bigrams)) / max(1, len(bigrams)), 4),
        "seconds": round(seconds, 1),
    }


def _histogram(texts: pd.Series, most: int = 100) -> dict[str, int]:
    """Texts by length: words -> texts; the last bin holds all of `most` words or more."""
    counts = Counter(min(len(text.split()), most) for text in texts)
    return {str(words): counts[words] for words in sorted(counts)}
