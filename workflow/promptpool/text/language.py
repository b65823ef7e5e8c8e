"""Script and language of a text, judged only if there is enough of it."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
from py3langid.langid import MODEL_FILE, LanguageIdentifier

HEAD = 1_000  # characters that the detector reads
LEAST_LETTERS = 12  # fewer say nothing about a language
CONFIDENT = 0.5  # probability of the likeliest language
COMMON = 0.1  # share of texts at which a language counts as one of a corpus
UNLIKELY = 0.05  # if a text's own language still has this probability, it may be right: Danish beside Norwegian
WORDLESS = {"zxx", "und"}  # "no linguistic content" and "undetermined"
NEVER_ANSWERED = {"la"}  # no model answers in Latin, but a sentence with "quantum" twice is classified as Latin
TOGETHER = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "BOPOMOFO": "CJK", "KATAKANA-HIRAGANA": "CJK"}


def script(text: str) -> str | None:
    """The script of most letters, by the first word of their Unicode names (`LATIN`, `CYRILLIC`, `CJK`).

    Japanese mixes three scripts, so kana count as CJK. Mathematical and full-width letters count as the letters that
    they represent (NFKC). None for a text without letters.
    """
    if text.isascii():
        return "LATIN" if any(map(str.isalpha, text)) else None
    counts: Counter[str] = Counter()
    for character, times in Counter(unicodedata.normalize("NFKC", text)).items():
        name = _script(character)
        if name:
            counts[name] += times
    return counts.most_common(1)[0][0] if counts else None


@cache
def _script(character: str) -> str | None:
    if not character.isalpha():
        return None
    name = unicodedata.name(character, "").partition(" ")[0]
    return TOGETHER.get(name, name) or None


def other_script(text: str, positive: str) -> bool:
    """Whether both texts have letters, mostly in different scripts."""
    own, found = script(text), script(positive)
    return own is not None and found is not None and own != found


@cache
def _identifier() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([code for code in identifier.labels if code not in NEVER_ANSWERED])
    identifier.nb_ptc = np.ascontiguousarray(identifier.nb_ptc)  # in column order, its rows take 1.7 times as long
    return identifier


def language(text: str) -> str | None:
    """ISO 639 code of the likeliest language; None if the text is short, or no language has more than half.

    By py3langid (naive Bayes over bytes; Lui and Baldwin, ACL 2012), offline, from the first 1,000 characters.
    """
    head = text[:HEAD]
    if sum(map(str.isalpha, head)) < LEAST_LETTERS * (1 if head.isascii() else 0.5):
        return None
    code, probability = _identifier().classify(head)
    return code if probability >= CONFIDENT and code not in WORDLESS else None


def other_language(text: str, positive: str, known: dict[str, str | None] | None = None) -> bool:
    """Whether both texts' languages are clear and differ. known: a cache of the languages of texts seen before."""
    known = {} if known is None else known
    if text not in known:
        known[text] = language(text)
    own = known[text]
    if own is None or (found := language(positive)) is None or found == own:
        return False
    return dict(_identifier().rank(positive[:HEAD])).get(own, 0.0) < UNLIKELY


def common_languages(texts: Sequence[str], least: float = COMMON) -> list[str]:
    """ISO 639 codes of the languages of at least the share `least` of those texts whose language is clear, sorted."""
    counts = Counter(filter(None, map(language, texts)))
    return sorted(code for code, count in counts.items() if count >= least * counts.total())
