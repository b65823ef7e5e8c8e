"""Whether two runs made the same: artifacts compared by what they say, but for times."""

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
from forks import listed_by
from promptpool.artifacts.files import STAMP, sidecar_path
from promptpool.artifacts.integrity import fault_of

TIMES = ["seconds", "tokens_per_second", "texts_per_second"]  # columns and keys that no two runs share
UNLIKE = {".html", ".png", ".svg"}  # hold a date or ids: compared by their being there


def differences(one: Path, other: Path) -> str | None:
    """What tells two artifacts apart, but for times; None where nothing does."""
    if one.is_dir():
        names = {path.relative_to(one) for path in one.rglob("*") if path.is_file() and path.name != STAMP}
        theirs = {path.relative_to(other) for path in other.rglob("*") if path.is_file() and path.name != STAMP}
        names, theirs = ({name for name in each if "tensorboard" not in name.parts} for each in (names, theirs))
        if names != theirs:
            return f"other files: {sorted(map(str, names ^ theirs))[:3]}"
        return next((told for name in sorted(names) if (told := differences(one / name, other / name))), None)
    if one.suffix == ".parquet":
        tables = [pd.read_parquet(path).drop(columns=TIMES, errors="ignore") for path in (one, other)]
        try:
            pd.testing.assert_frame_equal(*tables, check_exact=True)
        except AssertionError as error:
            return f"{one.name}: {str(error).splitlines()[0]}"
        return None
    if one.suffix in (".json", ".jsonl"):
        texts = [[untimed(json.loads(line)) for line in documents(path)] for path in (one, other)]
        return None if texts[0] == texts[1] else f"{one.name} differs"
    if one.suffix in UNLIKE or one.name == "README.md":
        return None if one.stat().st_size > 0 else f"{one.name} is empty"
    return None if one.read_bytes() == other.read_bytes() else f"{one.name} differs"


def documents(path: Path) -> list[str]:
    text = path.read_text()
    return text.splitlines() if path.suffix == ".jsonl" else [text]


def untimed(value: object) -> object:
    if isinstance(value, dict):
        left_out = (*TIMES, "date", "evaluation_time", "evaluation_phases", "kg_co2_emissions")
        if value.keys() == {"files", "folder"}:  # a manifest: MTEB's results have times, so that digests differ
            return {"folder": value["folder"], "files": sorted(value["files"])}
        return {key: untimed(item) for key, item in value.items() if key not in left_out}
    return [untimed(item) for item in value] if isinstance(value, list) else value


def wrong(job: SimpleNamespace, tree: Path, reference: Path) -> str | None:
    """What is wrong with a job's outputs, None where they are the reference's, whole and sealed."""
    for output in job.output:
        if not (tree / output).exists():
            return f"{output}: missing"
        if output.endswith((".meta.json", ".tar")):  # a sidecar that is declared; what has its directory's
            continue
        if not sidecar_path(tree / output).exists() or fault_of(tree / output):
            return f"{output}: not sealed"
        told = differences(tree / output, reference / output)
        if told:
            return f"{output}: {told}"
        for part in listed_by([output], tree):
            told = (
                f"{part.name}: not sealed" if fault_of(part) else differences(part, reference / part.relative_to(tree))
            )
            if told:
                return f"{output}: {told}"
        left = [*(tree / output).parent.glob(".*.tmp*"), *(tree / output).parent.glob("*.scratch")]
        if left:
            return f"left behind: {left[0].name}"
    return None
