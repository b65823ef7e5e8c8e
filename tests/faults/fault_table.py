"""The table of faults x stages, as docs/explanation/measured/faults.md shows it."""

from collections import Counter


def table(counts: Counter) -> str:
    """counts: (fault, stage, outcome) -> injections. Outcomes in capitals are bad and counted apart."""
    faults = sorted({fault for fault, _, _ in counts}, key=str.lower)
    stages = sorted({stage for _, stage, _ in counts})
    rows = ["| stage | " + " | ".join([*faults, "all"]) + " |", "| --- " * (len(faults) + 2) + "|"]
    for stage in [*stages, None]:
        cells = [_cell(counts, fault, stage) for fault in [*faults, None]]
        rows.append(f"| {stage or 'all'} | " + " | ".join(cells) + " |")
    ends: Counter = Counter()
    for (_, _, outcome), count in counts.items():
        ends[outcome] += count
    return "\n".join([*rows, "", ", ".join(f"{count} {outcome}" for outcome, count in sorted(ends.items()))])


def _cell(counts: Counter, fault: str | None, stage: str | None) -> str:
    own = {key: n for key, n in counts.items() if fault in (key[0], None) and stage in (key[1], None)}
    bad = sum(n for key, n in own.items() if key[2].isupper())
    return (f"{sum(own.values())}" + (f" ({bad} bad)" if bad else "")) if own else ""
