"""Puts the demo's own figures and headline table into README.md and docs/demo.md: `make readme`."""

import re
import shutil
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results/demo"
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


def main() -> None:
    (ROOT / "docs/pictures").mkdir(exist_ok=True)
    for name in PICTURES:
        shutil.copy(RESULTS / f"figures/{name}.png", ROOT / f"docs/pictures/{name}.png")
    for page in ("README.md", "docs/demo.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        filled = f"<!-- demo-table -->\n{table()}\n<!-- /demo-table -->"
        text = re.sub(r"<!-- demo-table -->.*?<!-- /demo-table -->", lambda _, filled=filled: filled, text, flags=re.S)
        (ROOT / page).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
