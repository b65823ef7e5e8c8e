"""A report of made-up tables, for the tests of its text and of its behaviour in a browser."""

import functools
import json
import tempfile
from pathlib import Path

import pandas as pd
from promptpool.analysis.average_benchmarks import benchmark_averages
from promptpool.figures import scores
from promptpool.figures.attention import attention_bars, attention_spans
from promptpool.figures.map import text_map
from promptpool.figures.pairs import pairs_qc
from promptpool.figures.training import training_curves
from promptpool.figures.tuned import tuned
from promptpool.report.build_report import Artifacts, build_report
from sample_tables import (
    TASKS,
    sample_ablation,
    sample_attention,
    sample_attention_summary,
    sample_facts,
    sample_map,
    sample_pairs,
    sample_qc,
    sample_scores,
    sample_serving,
    sample_set,
    sample_shown,
    sample_steps,
    sample_summary,
    sample_training,
    sample_verdict,
)

ATTACK = "</script><script>alert('x')</script><img src=x onerror=alert(1)> {{ 7 * 7 }}"


@functools.cache
def _drawn(words: str) -> dict[str, bytes]:
    """The figures of the report, file -> content. Drawn once a process, because drawing takes most of a page's time."""
    mapped = sample_map(words=words).replace({"label": {"topic 0": words}})
    figures = {"heat_map": (scores.heat_map, sample_scores()),
               "ablation_steps": (scores.ablation, sample_steps()),
               "training_curves": (training_curves, sample_training()),
               "attention_bars": (attention_bars, sample_shown()),
               "attention_spans": (attention_spans, sample_attention_summary(texts=3)),
               "tuned_steps": (tuned, sample_steps()),
               "text_map": (text_map, mapped),
               "pairs_qc": (pairs_qc, sample_qc())}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for name, (draw, table) in figures.items():
            draw(table, Path(folder, name))
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def build(folder: Path, words: str = "Return the shortest path.", **changed) -> Path:
    """A report of sample tables, `words` put wherever a run's data can hold words."""
    folder.mkdir(parents=True, exist_ok=True)

    def write(name: str, table: pd.DataFrame) -> Path:
        table.to_parquet(folder / f"{name}.parquet")
        return folder / f"{name}.parquet"

    attention = sample_attention(texts=3, text=words).to_pandas()
    attention["tokens"] = [[*tokens[:5], words, *tokens[6:]] for tokens in attention["tokens"]]
    moved = sample_attention_summary(texts=3)
    mapped = sample_map(words=words).replace({"label": {"topic 0": words}})
    drawn = _drawn(words)
    for name, content in drawn.items():
        (folder / name).write_bytes(content)
    qc = folder / "qc.json"
    counts = sample_set(2) | {"rejected": {words: 3, "too_short": 9}}
    counts["styles"] = {"detail": {**counts["styles"]["detail"], "rejected": {words: 3}}, words: {"accepted": 30}}
    counts["contamination"]["tasks"] = {words: 1}
    qc.write_text(json.dumps(counts))
    written = pd.concat([sample_pairs(style="detail"), sample_pairs(30, style=words)], ignore_index=True)
    prompts = sample_ablation("prompts", "none", {"none": 0.0, words: 0.06})
    facts = []
    for task, fact in sample_facts().items():
        (folder / task).mkdir(exist_ok=True)
        facts.append(folder / task / "facts.json")
        facts[-1].write_text(json.dumps(fact))
    wholes = {"own": dict.fromkeys(TASKS, "Clustering"), "more": {"StdlibTopics": "Clustering", words: "STS"}}
    averages = benchmark_averages(sample_scores(), wholes)
    given = dict(
        summary=write("summary", sample_summary().assign(label=words)),
        scores=write("scores", sample_scores().replace({"prompt": {"eol": words}})),
        ablations={"steps": write("steps", sample_steps()), "prompts": write("prompts", prompts)},
        attention=[write("attention", attention), write("moved", moved)],
        pairs={"rewritten": (write("pairs", written.assign(positive=words)), qc)},
        training={name: write(f"training-{name}", log) for name, log in sample_training().items()},
        figures={Path(name).stem: folder / name for name in drawn if name.endswith(".svg")},
        config={
            "run": "demo",
            "prompts": {"eol": words},
            "ablations": {"prompts": {"question": words}},
            "benchmarks": {"own": {"name": words}},
        },
        provenance={"packages": {"torch": "2"}, "note": words, "git_commit": None},
        facts=facts,
        benchmarks=write("benchmarks", averages),
        published={"own": [{"label": words, "value": 99.9, "source": words}]},
        text_map=write("map", mapped),
        verdict=folder / "verdict.json",
        serving={words: folder / "serving.json"},
    )
    given["serving"][words].write_text(json.dumps(sample_serving(words)))
    given["verdict"].write_text(json.dumps(sample_verdict(words)))
    out = folder / "report.html"
    given |= changed
    settings = {key: given.pop(key) for key in ("config", "provenance", "published") if key in given}
    build_report(out, Artifacts(**given), **settings)
    return out
