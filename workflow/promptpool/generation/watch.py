"""Decides when to end a writing early: many failed texts in a row cost money and produce nothing."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError

from ..errors import PromptpoolError
from .backend import FAULTS, Written

IN_A_ROW = 24  # if a tenth (half) of all texts fail, so many in a row have a probability of 1e-24 (6e-8)


class Watch:
    """Counts texts in a row that have a fault or are empty, and ends the writing at IN_A_ROW.

    Until a first text is written, at most IN_A_ROW may run at once (`admit`). So a model that only thinks, or a server
    that refuses everything, costs no more. Afterwards, texts that are tried again do not count, because they are a
    biased sample. advice: (fault, texts) -> the error that ends the writing. lasting: whether a written text proves
    nothing about later ones, as with a server, which may change. Thread-safe.
    """

    def __init__(self, advice: Callable[[str, int], PromptpoolError], lasting: bool):
        self._advice, self._lasting = advice, lasting
        self.proved = False  # a text was written
        self._admitted = self._row = 0
        self._faults: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._closed = False

    def admit(self) -> None:
        """Waits until one more may run. Raises CancelledError once the watch is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self.proved or self._admitted < IN_A_ROW)
            if self._closed:
                raise CancelledError
            self._admitted += 1

    def seen(self, text: Written, again: bool = False) -> None:
        """Counts one text that came back. Raises PromptpoolError if it is one fault too many."""
        with self._changed:
            fault = text.fault if text.fault in FAULTS else None if text.text else "empty"
            if fault is None:
                self.proved, self._row = True, 0
                self._faults.clear()
                self._changed.notify_all()
                return
            if self.proved and (again or not self._lasting):
                return
            self._row += 1
            self._faults[fault] += 1
            if self._row >= IN_A_ROW:
                raise self._advice(self._faults.most_common(1)[0][0], self._row)

    def close(self) -> None:
        """Releases all that wait; their `admit` raises CancelledError."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def thinking_advice(where: str, how: str, max_new_tokens: int) -> Callable[[str, int], PromptpoolError]:
    """The advice for a local model, whose only own fault is to think without answering."""

    def advice(fault: str, texts: int) -> PromptpoolError:
        if fault == "empty":
            return PromptpoolError(
                f"{where}: the first {texts} texts are empty; use another model, or change the style"
            )
        return PromptpoolError(
            f"{where}: the first {texts} texts are thinking without an answer within max_new_tokens "
            f"({max_new_tokens}); {how}, or raise max_new_tokens"
        )

    return advice
