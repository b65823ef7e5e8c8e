"""Better, no clear difference, or worse: what held-out pairs say of a tuned model, with the numbers, in words.

The held-out pairs are drawn again (`statistics.bootstrap`), the same draws for every search. The tuned model's
differences to the untuned one, to TF-IDF and to BM25 get intervals that hold for all three at once (`statistics.best`).
With several seeds, each is a training of its own with pairs of its own, and `statistics.seeds` adds their variance.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ..statistics.best import best_difference
from ..statistics.bootstrap import of_queries
from ..statistics.estimates import LEVEL, Estimate, Part, Sample, interval, over_seeds
from ..statistics.student import normal_quantile

BETTER, SAME, WORSE, UNKNOWN = "better", "no clear difference", "worse", "not known"
TUNED, UNTUNED = "tuned", "untuned"
ORDER = (TUNED, UNTUNED, "TF-IDF", "BM25")  # of searches, as they are shown
DECIDES = "recall@1"
FEWEST_PAIRS = 20  # with fewer pairs a few lucky ones decide
MANY_PASSES = 5  # after which a training has seen its pairs often
Searches = Mapping[str, Mapping[int, Mapping[str, np.ndarray]]]  # search -> seed -> measure -> a value for each text


def compare_searches(searches: Searches) -> dict[str, dict]:
    """Measure -> `scores` (search -> value, low, high) and `differences` (other search -> value, low, high, p,
    detectable), of the tuned model to each other search. All are shares, 0 to 1.
    """
    measures = next(iter(next(iter(searches.values())).values()))
    pairs = sum(len(next(iter(own.values()))) for own in searches[TUNED].values())
    compared = {}
    for measure in measures:
        samples = {name: _sample([own[measure] for own in seeds.values()], list(seeds)) for name, seeds in
                   searches.items()}  # fmt: skip
        others = [{"pairs": sample} for name, sample in samples.items() if name != TUNED]
        names = [name for name in samples if name != TUNED]
        differences = {name: best_difference([{"pairs": samples[TUNED]}], 0, others, place)
                       for place, name in enumerate(names)}  # fmt: skip
        compared[measure] = {
            "scores": {name: _bounded(interval({"pairs": sample}), pairs) for name, sample in samples.items()},
            "differences": {name: _numbers(one) | {"p": one.p, "detectable": one.detectable}
                            for name, one in differences.items()},
        }  # fmt: skip
    return compared


def _sample(values: Sequence[np.ndarray], seeds: Sequence[int]) -> Sample:
    samples = [
        Sample(float(own.mean()), (Part(np.array([[own.mean()]]), of_queries(own)),)) for own in values
    ]  # fmt: skip
    return over_seeds(dict(zip(seeds, samples, strict=True))) if len(samples) > 1 else samples[0]


def _numbers(found: Estimate) -> dict[str, float]:
    return {"value": found.estimate, "low": found.low, "high": found.high}


def _bounded(found: Estimate, pairs: int) -> dict[str, float]:
    """A share with its interval, within 0 and 1. Where all pairs agree, drawing them again shows no spread: then the
    other end is that of Wilson's interval (1927).
    """
    numbers = {name: float(np.clip(value, 0, 1)) for name, value in _numbers(found).items()}
    if numbers["low"] == numbers["high"] and numbers["value"] in (0, 1):
        far = normal_quantile((1 + LEVEL) / 2) ** 2 / (pairs + normal_quantile((1 + LEVEL) / 2) ** 2)
        numbers |= {"high": far} if numbers["value"] == 0 else {"low": 1 - far}
    return numbers


def verdict_of(compared: Mapping[str, Mapping], pairs: int) -> str:
    """BETTER, SAME or WORSE, of the tuned model against the untuned one, by the interval of DECIDES."""
    difference = compared[DECIDES]["differences"][UNTUNED]
    if pairs < FEWEST_PAIRS:
        return SAME
    return BETTER if difference["low"] > 0 else WORSE if difference["high"] < 0 else SAME


def headline_of(verdict: str, compared: Mapping[str, Mapping], pairs: int) -> str:
    """The verdict as one line, in per cent, with the interval of the difference in points."""
    scores, differences = compared[DECIDES]["scores"], compared[DECIDES]["differences"]
    share = {name: f"{100 * score['value']:.1f} %" for name, score in scores.items()}
    gain = differences[UNTUNED]
    others = ", ".join(f"{name} {share[name]}" for name in scores if name not in (TUNED, UNTUNED))
    points = " [{:.1f}, {:.1f}]".format(*(100 * gain[side] for side in ("low", "high")))
    return (
        f"{verdict.capitalize()}: tuned finds a held-out text's partner first in {share[TUNED]} of {pairs:,} pairs, "
        f"untuned in {share[UNTUNED]}: {100 * gain['value']:+.1f}{points}; {others}."
    )


def advice_of(verdict: str, compared: Mapping[str, Mapping], about: Mapping) -> list[str]:
    """What to change, a sentence a line; nothing if there is nothing to say.

    about: `adapter`, `step`, `pairs` (held out), `trained_on` (pairs), `passes` over them, `best_step` on the
    training's own check (or None), `learning_rate`.
    """
    key, gain = f"adapters.{about['adapter']}", compared[DECIDES]["differences"][UNTUNED]
    if about["pairs"] < FEWEST_PAIRS:
        return [f"{about['pairs']} held-out pairs are too few to say more: raise {key}.validation, or make more pairs."]
    lines = _remedies(key, about) if verdict == WORSE else []
    if verdict == SAME and gain["detectable"] == 0:
        lines = [f"Both find exactly the same: raise {key}.learning_rate or {key}.max_steps."]
    elif verdict == SAME:
        seen = (
            f"A true difference of {100 * gain['detectable']:.1f} points would have been found in 4 of 5 such studies."
        )
        lines = [seen, f"To see a smaller one, raise {key}.validation; to learn more, raise {key}.max_steps."]
    ahead = {other: one for other, one in compared[DECIDES]["differences"].items() if one["high"] < 0}
    ahead.pop(UNTUNED, None)
    if ahead:
        most = max(-100 * one["value"] for one in ahead.values())
        lines.append(
            f"{' and '.join(ahead)} find up to {most:.1f} points more: the two texts of these pairs share words."
        )
        lines.append("If your searches do too, count words. If not, make pairs that say the same in other words.")
    return lines


def _remedies(key: str, about: Mapping) -> list[str]:
    """For a tuned model that got worse, the likeliest cause first."""
    lines, best, step = [], about["best_step"], about["step"]
    if best and best < step:
        lines.append(f"Step {best} was better than step {step}: end {key}.steps with it.")
    if about["passes"] > MANY_PASSES:
        seen = f"Training saw its {about['trained_on']:,} pairs {about['passes']:.0f} times"
        lines.append(f"{seen}: make more pairs, or lower {key}.max_steps.")
    lines.append(f"Lower {key}.learning_rate to a third ({about['learning_rate'] / 3:.1g}).")
    lines.append("Read the accepted pairs in the report: do both texts of a pair mean the same?")
    lines.append("Until it is better, export the untuned model (adapter: base).")
    return lines
