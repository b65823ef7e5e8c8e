"""What an ablation varies: one thing, or two, which make a table. Both kinds are read through here.

One axis: `vary: prompt`, `baseline: none`, `values: [eol]`. Two: `vary: [prompt, pooling]`, `baseline: {prompt: none,
pooling: mean}`, `values: {prompt: [eol]}`; an axis without values has all of the grid's.
"""

from collections.abc import Mapping, Sequence


def varied(spec: Mapping) -> tuple[str, ...]:
    """The names of what varies, one or two."""
    return (spec["vary"],) if isinstance(spec["vary"], str) else tuple(spec["vary"])


def baseline_of(spec: Mapping) -> dict:
    """Axis -> the baseline's value."""
    axes = varied(spec)
    return {axes[0]: spec["baseline"]} if len(axes) == 1 else {axis: spec["baseline"][axis] for axis in axes}


def values_of(spec: Mapping, axis: str) -> Sequence | None:
    """The values of an axis to compare, without the baseline's unless it is listed; None for all in the grid."""
    values = spec.get("values")
    return values.get(axis) if isinstance(values, Mapping) else values


def compared(spec: Mapping, axis: str) -> list | None:
    """The values of an axis to score, the baseline's first; None for all in the grid."""
    values = values_of(spec, axis)
    return None if values is None else [baseline_of(spec)[axis], *values]
