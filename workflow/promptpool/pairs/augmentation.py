"""Positives without a language model: a text's other half, itself, or itself with seeded noise.

The default rates are those of arXiv 2507.22729. Its code draws noise differently, while it trains: see
training/published_noise.py. That a text is always changed if possible is our choice, because an unchanged one would be
`identity` under another name.
"""

import random
import re
from collections.abc import Callable, Mapping

LONGEST_HALF = 60  # words; as long as what a model is asked to write
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def halves(anchor: str, document: str) -> tuple[str, str]:
    """(text, positive): the anchor and the rest of its document. A document that is only the anchor is cut in two."""
    rest = document[len(anchor) :] if document.startswith(anchor) else document.partition("\n\n")[2]
    if anchor.strip() != document.strip():
        return anchor, " ".join(rest.split()[:LONGEST_HALF])
    words = anchor.split()
    middle = (len(words) + 1) // 2
    return " ".join(words[:middle]), " ".join(words[middle:])


def delete_words(text: str, rate: float, draw: random.Random) -> str:
    """Deletes each word with probability `rate`. Of two words or more, at least one goes and one stays."""
    words = _with_spaces(text)
    if len(words) < 2 or rate == 0:
        return text
    kept = [word for word in words if draw.random() >= rate]
    if len(kept) == len(words):
        del kept[draw.randrange(len(kept))]
    return "".join(kept or [draw.choice(words)]).strip()


def swap_words(text: str, swaps: int, draw: random.Random) -> str:
    """`swaps` times, swaps two words at different places. The spaces between words stay in place."""
    pieces = re.split(r"(\s+)", text)
    places = [place for place, piece in enumerate(pieces) if piece and not piece.isspace()]
    if len(places) < 2:
        return text
    for _ in range(swaps):
        a, b = draw.sample(places, 2)
        pieces[a], pieces[b] = pieces[b], pieces[a]
    return "".join(pieces)


def character_noise(text: str, rate: float, draw: random.Random) -> str:
    """Mistypes each letter or digit with probability `rate`; at least one, if there is any.

    A slip replaces the character, leaves it out, puts another before it, or swaps it with the next, all equally likely.
    If there is no other to swap with, another is put before it.
    """
    typed = [place for place, character in enumerate(text) if character.isalnum()]
    if not typed or rate == 0:
        return text
    slips = [place for place in typed if draw.random() < rate] or [draw.choice(typed)]
    characters = list(text)
    for place in reversed(slips):  # from the end, so that earlier places stay valid
        slip = draw.choice(("replace", "leave out", "put before", "swap"))
        pair = characters[place : place + 2]
        if slip == "replace":
            characters[place] = draw.choice(ALPHABET.replace(pair[0], ""))
        elif slip == "leave out":
            del characters[place]
        elif slip == "swap" and len(set(pair)) == 2:
            characters[place : place + 2] = reversed(pair)
        else:
            characters.insert(place, draw.choice(ALPHABET))
    return "".join(characters)


def noisers(noise: Mapping) -> dict[str, Callable[[str, random.Random], str]]:
    """Style -> (text, draw) -> positive, at the rates in `noise`: deletion, swaps, characters."""
    return {
        "word-deletion": lambda text, draw: delete_words(text, noise["deletion"], draw),
        "word-swap": lambda text, draw: swap_words(text, noise["swaps"], draw),
        "character-noise": lambda text, draw: character_noise(text, noise["characters"], draw),
    }


def _with_spaces(text: str) -> list[str]:
    """The words, each with the spaces after it. Joined, they are the text without its leading spaces."""
    return re.findall(r"\S+\s*", text)
