"""The vectors of a model behind an OpenAI-compatible server (`/v1/embeddings`): a paid service, or one's own."""

import base64
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from typing import NoReturn

import httpx2
import numpy as np
from tqdm import tqdm

from ..errors import PromptpoolError
from ..generation.backend import encodable, one_line
from ..generation.server import key_advice
from ..generation.server_client import PassingError, ServerClient

CONNECTION = ("url", "key_variable", "timeout", "retries", "concurrency")
EVERY_REQUEST = (401, 402, 403, 404, 405, 407, 429)  # statuses that concern all; 429 means: no credit is left


class ServedModel:
    """One model of a server. spec: `model`, `prompt` with one {text}, `dimensions`, `max_characters`; how: CONNECTION
    and `batch_size`. Checks the address and the key when it is opened. `requests` and `tokens` count what it cost;
    `names` are the models that the server lists.
    """

    def __init__(self, spec: Mapping, how: Mapping, where: str):
        self.spec, self.where, self.batch_size = spec, where, how["batch_size"]
        self.server = ServerClient(where, **{key: how[key] for key in CONNECTION})
        self.requests = self.tokens = 0
        self._lock = threading.Lock()
        self._ended: PromptpoolError | None = None
        self._threads = how["concurrency"]
        self.names = self.server.greet()

    def vectors(self, texts: Sequence[str]) -> tuple[np.ndarray, dict]:
        """float32 [n, dim], in the order of the texts, and what they cost. Raises PromptpoolError if there are none.

        A batch that the server refuses is halved; a text that it refuses alone is named.
        """
        before, _, after = self.spec["prompt"].partition("{text}")
        longest = self.spec["max_characters"]
        inputs = [encodable(before + text[:longest] + after) for text in texts]
        starts = range(0, len(inputs), self.batch_size)
        found: dict[int, np.ndarray] = {}
        requests, tokens = self.requests, self.tokens
        pool = ThreadPoolExecutor(self._threads)
        jobs = {pool.submit(self._batch, inputs[start : start + self.batch_size]): start for start in starts}
        try:
            for job in tqdm(as_completed(jobs), total=len(jobs), desc=self.where, unit="batch"):
                found[jobs[job]] = job.result()
        except BaseException as error:
            self.server.stop.set()
            if isinstance(error, CancelledError) and self._ended:
                raise self._ended from None  # another thread has the reason
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        sizes = {rows.shape[1] for rows in found.values()}
        if len(sizes) > 1:
            raise PromptpoolError(
                f"{self.where}: {self.server.url} gives vectors of {sorted(sizes)} dimensions at once"
            )
        cost = {"device": "server", "requests": self.requests - requests, "tokens": self.tokens - tokens}
        return np.concatenate([found[start] for start in starts]), cost

    def close(self) -> None:
        self.server.close()

    def _batch(self, inputs: Sequence[str]) -> np.ndarray:
        """A fault of one batch ends the others before a thread takes the next: each may cost money."""
        if self.server.stop.is_set():
            raise CancelledError
        try:
            rows = self.server.persist(lambda: self._once(inputs))
        except PassingError as fault:
            self._end(self.server.given_up(fault, f"{len(inputs)} texts"))
        except PromptpoolError as error:
            self._end(error)
        if rows is not None:
            return rows
        half = len(inputs) // 2
        return np.concatenate([self._batch(inputs[:half]), self._batch(inputs[half:])])

    def _end(self, error: PromptpoolError) -> NoReturn:
        self._ended = self._ended or error
        self.server.stop.set()
        raise error from None

    def _once(self, inputs: Sequence[str]) -> np.ndarray | None:
        """One try; None if the server refuses several texts at once, but may take fewer."""
        body = {"model": self.spec["model"], "input": list(inputs), "encoding_format": "float"}
        if self.spec["dimensions"]:
            body["dimensions"] = self.spec["dimensions"]
        answer = self.server.once("embeddings", body)
        with self._lock:
            self.requests += 1
        if answer.status_code != 200:
            if answer.status_code in EVERY_REQUEST:
                raise self.server.refused(answer, self._remedy(answer))
            if len(inputs) > 1:
                return None
            remedy = f"set {self.where}.max_characters, or leave out {inputs[0][:60]!r}"
            raise self.server.refused(answer, remedy)
        try:
            content = answer.json()
            rows = read_vectors_of(content, len(inputs))
            tokens = int((content.get("usage") or {}).get("total_tokens") or 0)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            told = one_line(self.server.key.hidden(answer.text), 80)
            raise PassingError(f"no embeddings ({one_line(error, 80)}): {told!r}") from None
        if not np.isfinite(rows).all():
            bad = inputs[int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])]
            raise PromptpoolError(f"{self.where}: the vector of {bad[:80]!r} is not finite; check the model")
        with self._lock:
            self.tokens += tokens
        return rows

    def _remedy(self, answer: httpx2.Response) -> str:
        if answer.status_code in (401, 403):
            return key_advice(self.server.key)
        if answer.status_code == 404:
            return f"fix {self.where}.url, or name a model that it serves"
        return "look at your account there"


def read_vectors_of(content: Mapping, count: int) -> np.ndarray:
    """float32 [count, dim] of an answer, by `index`. Raises ValueError, LookupError or TypeError for another shape."""
    entries = sorted(content["data"], key=lambda entry: entry["index"])
    if [entry["index"] for entry in entries] != list(range(count)):
        raise ValueError(f"{len(entries)} vectors for {count} texts")
    rows = [
        np.frombuffer(base64.b64decode(entry["embedding"]), "<f4")
        if isinstance(entry["embedding"], str)
        else np.asarray(entry["embedding"], np.float32)
        for entry in entries
    ]
    matrix = np.stack(rows)
    if matrix.ndim != 2 or not matrix.shape[1]:
        raise ValueError(f"an embedding of the shape {matrix.shape}")
    return matrix
