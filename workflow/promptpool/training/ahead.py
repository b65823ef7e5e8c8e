"""Makes the next step's batch, tokens and lengths, in a thread while the current step trains."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

MASK, LENGTHS = "attention_mask", "lengths"
_END = object()


def with_lengths(batch: dict) -> dict:
    """The batch, and for each side with a mask the tokens of its texts: a list, so that no step asks a GPU for them."""
    found = dict(batch)
    for name, values in batch.items():
        if name.endswith(f"_{MASK}"):
            found[name.removesuffix(MASK) + LENGTHS] = values.sum(1).tolist()
    return found


class Ahead:
    """The batches of an iterator in their order. While one is used, a thread makes the next.

    The first is made by the caller's thread, because a loader draws from torch's random numbers as it starts. No other
    batch draws any, so the numbers that a step sees are the same as without a thread.
    """

    def __init__(self, source: Iterator[dict]):
        self.source = source
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._coming: Future | None = None

    def __iter__(self) -> "Ahead":
        return self

    def __next__(self) -> dict:
        batch = self._made() if self._coming is None else self._coming.result()
        if batch is _END:
            raise StopIteration
        self._coming = self._thread.submit(self._made)
        return batch

    def _made(self) -> object:
        batch = next(self.source, _END)
        return batch if batch is _END else with_lengths(batch)

    def settle(self) -> None:
        """Waits for the batch under way: no two threads may use one tokenizer at a time."""
        if self._coming is not None:
            wait([self._coming])

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)
