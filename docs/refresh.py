"""Puts the demo's own table, pictures and report into README.md and docs/: `make readme`."""

import re
import shutil
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results/demo"
PAGES = ("README.md", "docs/explanation/measured/demo.md")
REPORT = "docs/example-report.html"
LARGEST = 2_000_000  # bytes of a published report
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


def main() -> None:
    (ROOT / "docs/pictures").mkdir(exist_ok=True)
    for name in PICTURES:
        shutil.copy(RESULTS / f"figures/{name}.png", ROOT / f"docs/pictures/{name}.png")
    for page in PAGES:
        between(ROOT / page, "demo-table", table())
    between(ROOT / "README.md", "example-report", publish(RESULTS / "report.html", ROOT / REPORT))


if __name__ == "__main__":
    main()
