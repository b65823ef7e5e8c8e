"""Exports of tiny models, for the tests of the stage, of its parity check and of vLLM."""

import json
from pathlib import Path

import pandas as pd
from promptpool.export.check_parity import check_parity
from promptpool.export.export_model import Training, export_model
from promptpool.export.readout_modules import Fitted
from promptpool.models.checkpoint import Checkpoint

LIMIT = 12
PROMPT = 'This sentence: "{text}" belongs to:'
LINES = [
    " ".join(f"the oven bread harbour mast deck knot number {i}".split()[: 2 + i % 7]) + f" {i}" for i in range(40)
]
VARIANT = {"model": "small", "adapter": "tuned", "step": 3, "prompt": "quotes", "pooling": "last", "layer": -1}


def spec_of(**changes: object) -> dict:
    """An entry of `exports:`, its defaults filled."""
    spec = {"model": "small", "adapter": "tuned@3", "prompt": "quotes", "pooling": "last", "layer": -1,
            "normalize": True, "max_text_tokens": LIMIT, "merged": True, "dtype": "float32"}  # fmt: skip
    return {**spec, **changes}


def tables(folder: Path) -> dict:
    """The stage's other inputs, by hand: summary, a task's facts.json, one pair set's qc.json."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"row": "random", "kind": "score", "task": "mean", **VARIANT, "adapter": "baseline", "score": 0.101},
        {"row": "best tuned", "kind": "score", "task": "mean", **VARIANT, "score": 0.987},
        {"row": "export out", "kind": "score", "task": "mean", **VARIANT, "score": 0.432},
        {"row": "export out - untuned", "kind": "difference", "task": "mean", **VARIANT, "score": 0.123},
        {"row": "export out", "kind": "score", "task": "topics", **VARIANT, "score": 0.492},
        {"row": "export other", "kind": "score", "task": "topics", **VARIANT, "score": 0.592},
        {"row": "export other", "kind": "score", "task": "mean", **VARIANT, "score": 0.876},
    ]
    summary = pd.DataFrame([{**row, "low": row["score"] - 0.02, "high": row["score"] + 0.03} for row in rows])
    summary.to_parquet(folder / "summary.parquet")
    styles = {"detail": {"asked": 500, "accepted": 1420}, "simple": {"asked": 500, "accepted": 77}}
    (folder / "qc.json").write_text(json.dumps({"accepted": 1497, "styles": styles}))
    (folder / "topics").mkdir(exist_ok=True)
    facts = {"mteb_name": "Topics", "type": "Clustering", "main_score": "v_measure", "revision": "local"}
    (folder / "topics/facts.json").write_text(json.dumps(facts))
    return {"headline": str(folder / "summary.parquet"), "facts": [str(folder / "topics/facts.json")],
            "qc": [str(folder / "qc.json")],
            "pairs": {"rewritten": {"corpus": "lines"}}, "recipe": {"batch_size": 8, "lora": {"rank": 4}}}  # fmt: skip


def export(
    out: Path,
    base: Path,
    adapter: Path | None,
    given: dict,
    *,
    template: str = PROMPT,
    readout=None,
    causal: bool = True,
    **changes,
) -> Path:
    """Exports one variant of `base`. readout: (its spec, the file of its statistics)."""
    spec = spec_of(**({} if adapter else {"adapter": "base"}), **changes)
    export_model(
        str(out), name=out.name, spec=spec, template=template,
        checkpoint=Checkpoint(str(base), adapter=adapter and str(adapter), causal=causal),
        headline=given["headline"], facts=given["facts"],
        training=Training(**{key: given[key] for key in ("pairs", "qc", "recipe", "corpora") if key in given}),
        readout=readout and Fitted(*readout),
    )  # fmt: skip
    return out


def parity(
    exported: Path,
    base: Path,
    adapter: Path | None,
    *,
    template: str = PROMPT,
    readout=None,
    causal: bool = True,
    **changes,
) -> dict:
    """What the parity check finds of an export, its own texts being LINES."""
    texts, out = exported.with_name("texts.parquet"), exported.with_name("parity.json")
    pd.DataFrame({"text": LINES}).to_parquet(texts)
    spec = spec_of(**({} if adapter else {"adapter": "base"}), **changes)
    check_parity(
        str(exported), str(texts), str(out), spec=spec, template=template,
        checkpoint=Checkpoint(str(base), adapter=adapter and str(adapter), device="cpu", causal=causal),
        readout=readout and Fitted(*readout),
    )  # fmt: skip
    return json.loads(out.read_text())
