"""What a finished run holds: its report, its scores, whether its files are whole, and whether tuning helped."""

import argparse
import json
import os
import sys
import webbrowser
from pathlib import Path

from ..artifacts.files import finished
from ..errors import PromptpoolError
from ..runtime.rebuild import artifacts_of, damaged, mend
from .run_study import announce
from .snakemake_command import StudyFile, as_typed, snakemake_command, study_file

WORSE = "worse"
ADVICE = (
    "Do not use the tuned model as it is. Look at the rejected and kept pairs in the report, use more texts or another",
    "style of pairs, lower learning_rate or max_steps; until then, export the untuned model (`adapter: base`).",
)


def report(given: argparse.Namespace) -> int:
    """`promptpool report`: opens the report, or prints its path where there is no browser."""
    page = _there(study_file(given.study), "report.html", "report")
    shown = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform == "darwin")
    if shown and webbrowser.open(page.absolute().as_uri()):
        print(f"Opened {page}")
    else:
        print(page.absolute())
    return 0


def scores(given: argparse.Namespace) -> int:
    """`promptpool scores`: the headline, then the best variants with their intervals, then the ablations."""
    study = study_file(given.study)
    print(_there(study, "summary.txt", "summary").read_text(encoding="utf-8").rstrip())
    import pandas as pd

    from ..analysis.score_means import variant_means
    from ..analysis.score_table import variant_label

    facts = {path.parent.name: json.loads(path.read_text("utf-8")) for path in study.results.glob("tasks/*/facts.json")}
    means = variant_means(pd.read_parquet(_there(study, "scores.parquet", "scores")), facts)
    best = means.dropna(subset=["mean"]).sort_values("mean", ascending=False).head(given.top)
    rows = [
        (variant_label(row[:-5]), *(f"{100 * value:.1f}" for value in row[-5:-2]))
        for row in best.itertuples(index=False)
    ]
    if rows:
        print(f"\nThe best {len(rows)} of {len(means)} variants (scores x 100, 95 % interval)\n")
        print(_table(("variant", "mean", "low", "high"), rows))
    for file in finished(study.results / "ablations", "*.parquet"):
        print(f"\nAblation {file.stem}: {file}")
    return 0


def verify_results(given: argparse.Namespace) -> int:
    """`promptpool verify`: checks every artifact of the run, or an exported model; 1 if one is damaged."""
    if given.export:
        from .exports import verify_export

        return verify_export(given)
    study = study_file(given.study)
    _folder(study)
    announce([sys.executable, "-m", "promptpool.runtime.rebuild", str(study.results)])
    faults = [fault for _, fault in damaged(study.results)]
    print("\n".join([*faults, f"{len(artifacts_of(study.results))} artifacts verified, {len(faults)} damaged"]))
    if faults:
        print("`promptpool rebuild` makes them again, and nothing else.")
    return 1 if faults else 0


def rebuild(given: argparse.Namespace) -> int:
    """`promptpool rebuild`: makes damaged artifacts again, and nothing else."""
    study = study_file(given.study)
    _folder(study)
    command = snakemake_command(study, "--cores", "all", *given.passed)
    whole = [sys.executable, "-m", "promptpool.runtime.rebuild", str(study.results), "--"]
    print(f"> {as_typed(whole)} {as_typed(command)}", file=sys.stderr, flush=True)
    return mend(study.results, command)


def crate(given: argparse.Namespace) -> int:
    """`promptpool crate`: describes the run's files as an RO-Crate, in its own directory."""
    from ..runtime.run_crate import write_run_crate

    print(f"Wrote {write_run_crate(_folder(study_file(given.study)), given.study, given.licence)}")
    return 0


def check(given: argparse.Namespace) -> int:
    """`promptpool check`: 0 if the run's files are whole and tuning did no harm, 1 if not, 2 without a verdict."""
    study = study_file(given.study)
    faults = [fault for _, fault in damaged(_folder(study))]
    for fault in faults:
        print(fault)
    verdict = json.loads(_there(study, "verdict.json", "verdict").read_text(encoding="utf-8"))["verdict"]
    print((study.results / "verdict.txt").read_text(encoding="utf-8").rstrip())
    if verdict == WORSE:
        print("\n".join(ADVICE))
    return 1 if faults else {WORSE: 1, "not known": 2}.get(verdict, 0)


def _folder(study: StudyFile) -> Path:
    if not study.results.is_dir():
        raise PromptpoolError(f"{study.results}: no such directory; `promptpool run` makes it")
    return study.results


def _there(study: StudyFile, name: str, target: str) -> Path:
    path = study.results / name
    if not path.is_file():
        raise PromptpoolError(f"{path}: no such file; `promptpool run {target}` makes it")
    return path


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Columns aligned: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) if place == 0 else cell.rjust(width)
                  for place, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in (head, *rows)
    )  # fmt: skip
