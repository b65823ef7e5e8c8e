"""Spares a job the import of sentence-transformers, which MTEB asks for only to find out that it is not used.

Before it scores anything, `mteb.evaluate` imports SentenceTransformer and CrossEncoder and asks whether the model is
one of them. That import takes longer than MTEB's own. While the package is not imported no object can be of its
classes, so two empty classes give the same answers. MTEB itself is left as it is.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType

SENTENCE_TRANSFORMERS = "sentence_transformers"
ASKED_FOR = ("SentenceTransformer", "CrossEncoder")


@contextmanager
def absent_models() -> Iterator[None]:
    """In this block, two empty classes stand for sentence-transformers, unless it is imported already."""
    if SENTENCE_TRANSFORMERS in sys.modules:
        yield
        return
    stand_in = ModuleType(SENTENCE_TRANSFORMERS)
    stand_in.__spec__ = find_spec(SENTENCE_TRANSFORMERS)  # other libraries ask whether the package is installed
    for name in ASKED_FOR:
        setattr(stand_in, name, type(name, (), {}))
    sys.modules[SENTENCE_TRANSFORMERS] = stand_in
    try:
        yield
    finally:
        del sys.modules[SENTENCE_TRANSFORMERS]
