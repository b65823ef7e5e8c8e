"""Puts measured numbers into the pages: `make readme`.

The demo's own figures and headline table and report go into README.md and docs/; what `make bench-gpu` wrote (gpu.json)
goes into docs/explanation/measured/embedding.md. `--gpu` does the second alone, which needs no demo.
"""

import json
import re
import shutil
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results/demo"
PAGES = ("README.md", "docs/explanation/measured/demo.md")
REPORT = "docs/example-report.html"
LARGEST = 2_000_000  # bytes of a published report
GPU = ROOT / "docs/gpu.json"
PICTURES = ("score_by_step_steps", "tuned_steps", "text_map", "cost_scores", "attention_bars", "heat_map")


def table() -> str:
    """The headline as a Markdown table, V-measure times 100."""
    lines = ["| | V-measure x 100 | 95 % interval | |", "| --- | --- | --- | --- |"]
    summary = pd.read_parquet(RESULTS / "summary.parquet")
    for row in summary[summary["task"] == "mean"].itertuples():
        sign = "+" if row.kind == "difference" else ""
        value, low, high = (f"{100 * number:{sign}.1f}" for number in (row.score, row.low, row.high))
        lines.append(f"| {row.row} | {value} | {low} to {high} | {'' if sign else row.label} |")
    return "\n".join(lines)


def between(page: Path, name: str, filling: str) -> None:
    """Replaces what stands between a page's `<!-- name -->` and `<!-- /name -->`."""
    text = page.read_text(encoding="utf-8")
    filled = f"<!-- {name} -->\n{filling}\n<!-- /{name} -->"
    text = re.sub(rf"<!-- {name} -->.*?<!-- /{name} -->", lambda _: filled, text, flags=re.S)
    page.write_text(text, encoding="utf-8")


def publish(report: Path, to: Path) -> str:
    """Copies the report and returns the sentence that links it; an empty string if there is none or it is too large."""
    if not report.exists():
        return ""
    if report.stat().st_size >= LARGEST:
        print(f"{report}: {report.stat().st_size:,} bytes, and at most {LARGEST:,} are published; it is left out")
        return ""
    shutil.copy(report, to)
    return f"The demo's own report is published as [an example]({REPORT})."


def gpu_section(path: Path = GPU) -> str:
    """What `make bench-gpu` measured, as Markdown; one line where there is no such file.

    Raises SystemExit for a file of toy sizes, whose numbers say nothing.
    """
    if not path.exists():
        return "Not measured yet: no GPU was at hand. `make bench-gpu` measures it and fills this section."
    result = json.loads(path.read_text(encoding="utf-8"))
    if result["toy"]:
        raise SystemExit(f"{path}: written with --toy; its numbers say nothing. Run make bench-gpu on a GPU")
    machine, parts = result["machine"], result["parts"]
    lines = [f"{machine.get('name', machine['device'])}, torch {machine['torch']}, {result['date']}; "
             f"{result['seconds'] / 60:.0f} minutes in all."]  # fmt: skip
    for part, heading, columns in GPU_TABLES:
        found = parts.get(part)
        if found is None:
            continue
        rows = [row for row in found["rows"] if "cut" not in row]
        lines += ["", f"**{heading}**"]
        if rows:
            lines += ["", "| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|"]
            lines += [
                "| " + " | ".join(cell(row.get(key), how) for key, how in columns.values()) + " |" for row in rows
            ]
        for row in found["rows"]:
            if "cut" in row:
                what = ", ".join(str(value) for key, value in row.items() if key != "cut" and value is not None)
                lines += ["", f"Not measured: {what}: {row['cut']}."]
        if "fault" in found:
            lines += ["", f"This part did not end as planned: {' '.join(found['fault'].split())[:300]}."]
    return "\n".join(lines)


GPU_TABLES = (
    ("tests", "tests/gpu", {"passed": ("passed", "d"), "failed": ("failed", "s"), "skipped": ("skipped", "d")}),
    ("embedding", "Embedding: three prompts x {mean, last}. The share is 2 x the layers' weights x tokens a second, of "
     "the GPU's dense bfloat16 peak (attention is not counted)",
     {"model": ("model", "s"), "texts": ("texts", "s"), "numbers": ("precision", "s"),
      "tokens/s": ("tokens_per_second", ",.0f"), "share of the peak": ("share_of_peak", ".1%"),
      "memory, GiB": ("memory_gib", ".1f")}),
    ("training", "Training: the paper's recipe, bfloat16 base, the first step left out",
     {"model": ("model", "s"), "batch": ("batch", ",d"), "texts": ("texts", "s"),
      "tokens/s": ("tokens_per_second", ",.0f"),
      "seconds a step": ("seconds_a_step", ".2f"), "memory, GiB": ("memory_gib", ".1f")}),
    ("synthesis", "Synthesis: new tokens a second",
     {"model": ("model", "s"), "backend": ("backend", "s"), "batch": ("batch_size", ",d"),
      "tokens/s": ("tokens_per_second", ",.0f"), "memory, GiB": ("memory_gib", ".1f")}),
    ("demo", "The demo, V-measure x 100: on this GPU, and on a CPU ([demo.md](demo.md))",
     {"row": ("row", "s"), "GPU": ("here", ".1f"), "CPU": ("cpu", ".1f"), "seconds in all": ("seconds", ",.0f")}),
)  # fmt: skip


def cell(value: object, how: str) -> str:
    """A value as a table shows it; `-` for one that is not known, names for a list."""
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return format(value, how)


def main() -> None:
    between(ROOT / "docs/explanation/measured/embedding.md", "gpu", gpu_section())
    if sys.argv[1:] == ["--gpu"]:
        return
    (ROOT / "docs/pictures").mkdir(exist_ok=True)
    for name in PICTURES:
        shutil.copy(RESULTS / f"figures/{name}.png", ROOT / f"docs/pictures/{name}.png")
    for page in PAGES:
        between(ROOT / page, "demo-table", table())
    between(ROOT / "README.md", "example-report", publish(RESULTS / "report.html", ROOT / REPORT))


if __name__ == "__main__":
    main()
