"""How many tokens texts have, and how many of them a model reads: for sidecars, and from them for the report."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from ..templates import Composer, Template
from ..variants import CUT_TEXTS, MEAN_OF_CHUNKS

LENGTHS = "text_lengths"  # the key of a sidecar
COUNTED_TOGETHER = 4096  # texts tokenized at once
MANY = 0.05  # the share of a task's texts beyond which a cut is worth a warning


class MeasuredComposer(Composer):
    """A Composer that notes how long each text is before it is cut, as it tokenizes it anyway.

    lengths: text -> tokens.
    """

    def __init__(self, known: Composer):
        super().__init__(known.tokenizer, known.max_text_tokens, known.text_normalisation)
        self.lengths: dict[str, int] = {}

    def texts(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        rows = self.tokenizer(self.clean(texts), add_special_tokens=False, verbose=False)["input_ids"]
        self.lengths.update(zip(texts, map(len, rows), strict=True))
        return [list(ids[: self.max_text_tokens]) for ids in rows]

    def joint(self, template: Template, texts: Sequence[str]) -> list[list[int]]:
        self.measure(texts)  # the paper's way tokenizes, cuts and tokenizes again, and keeps no length
        return super().joint(template, texts)

    def measure(self, texts: Iterable[str]) -> None:
        """Tokenizes the texts that were not tokenized here: of a killed job, or copied from another task."""
        missing = [text for text in texts if text not in self.lengths]
        for start in range(0, len(missing), COUNTED_TOGETHER):
            self.texts(missing[start : start + COUNTED_TOGETHER])

    def facts(self, texts: Sequence[str]) -> dict:
        """`cut_facts` of some texts."""
        self.measure(texts)
        return cut_facts([self.lengths[text] for text in texts], self.max_text_tokens)


def token_counts(tokenizer: Callable, texts: Sequence[str], **options: object) -> list[int]:
    """How many tokens each text has, uncut. options: of the tokenizer."""
    found: list[int] = []
    for start in range(0, len(texts), COUNTED_TOGETHER):
        ids = tokenizer(list(texts[start : start + COUNTED_TOGETHER]), verbose=False, **options)["input_ids"]
        found += map(len, ids)
    return found


def cut_facts(lengths: Sequence[int], most: int | None, unit: str = "tokens") -> dict:
    """What cutting takes from texts of these lengths: `how`, `at` (the limit), `unit`, `texts`, `long` (how many are
    cut), `before` and `after` (the lengths of all texts together), `median_lost` and `largest_lost` (of the texts that
    are cut, the share that each loses; 0 without any).
    """
    whole = np.asarray(lengths, dtype=np.int64)
    kept = whole if most is None else np.minimum(whole, most)
    long = kept < whole
    lost = 1 - kept[long] / whole[long]
    return {
        "how": CUT_TEXTS,
        "at": most,
        "unit": unit,
        "texts": len(whole),
        "long": int(long.sum()),
        "before": int(whole.sum()),
        "after": int(kept.sum()),
        "median_lost": round(float(np.median(lost)), 4) if len(lost) else 0.0,
        "largest_lost": round(float(lost.max()), 4) if len(lost) else 0.0,
    }


def chunk_facts(how: str, overlap: int, most: int, lengths: Sequence[int], pieces: Sequence[Sequence[int]]) -> dict:
    """The same of texts in chunks, of which nothing is lost. pieces: the tokens of each text's chunks.

    after: tokens that are read, which an overlap makes more; also `overlap`, `chunks` (of all texts) and `most_chunks`.
    """
    counts = [len(own) for own in pieces]
    return {
        **cut_facts(lengths, None),
        "how": how,
        "at": most,
        "long": sum(count > 1 for count in counts),
        "after": sum(map(sum, pieces)),
        "overlap": overlap,
        "chunks": sum(counts),
        "most_chunks": max(counts, default=0),
    }


def is_much(facts: Mapping) -> bool:
    """Whether so many texts are cut that a reader of the scores must know."""
    return facts["how"] == CUT_TEXTS and facts["long"] > MANY * facts["texts"]


def in_a_sentence(what: str, facts: Mapping) -> str:
    """`Topics: 12 of 40 texts (30 %) are cut at 24 tokens; half of these lose 41 % or more, one 78 %.`"""
    count, unit = facts["texts"], facts["unit"]
    if not facts["long"]:
        return f"{what}: all {count:,} texts are read whole."
    share = f"{facts['long']:,} of {count:,} texts ({percent(facts['long'] / count)})"
    if facts["how"] != CUT_TEXTS:
        combined = (
            "their mean is the text's vector" if facts["how"] == MEAN_OF_CHUNKS else "the most similar one counts"
        )
        repeat = f", with up to {facts['overlap']} {unit} of the one before" if facts["overlap"] else ""
        return (
            f"{what}: {share} are read in chunks of at most {facts['at']} {unit}{repeat}, up to {facts['most_chunks']} "
            f"of a text; {combined}."
        )
    return (
        f"{what}: {share} are cut at {facts['at']} {unit}; half of these lose {percent(facts['median_lost'])} or more, "
        f"one {percent(facts['largest_lost'])}."
    )


def percent(share: float) -> str:
    """A share in whole per cent, but never 0 % of something."""
    return "under 1 %" if 0 < share < 0.005 else f"{share:.0%}".replace("%", " %")
