"""Requests to an OpenAI-compatible server, each with as many tries as a temporary fault needs. One place for retries.

Texts are written (openai_backend) and embedded (scoring/served_vectors.py) through this.
"""

import random
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import TypeVar

import httpx2

from ..errors import PromptpoolError
from .answers import NO_CREDIT, asked_wait, codes_of, message_of
from .backend import one_line
from .server import ApiKey, base_url, key_advice

CONNECT = 10  # seconds until a server counts as unreachable
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds before a retry; doubled each time
LONGEST_ASKED = 600.0  # seconds: the longest wait that a Retry-After may ask for
PASSING = (408, 409, 425, 429)  # statuses that another try may overcome, besides all of 500 and up
Result = TypeVar("Result")


class PassingError(Exception):
    """A fault that another try may overcome. wait: seconds to wait; own: whether the text may be the cause."""

    def __init__(self, told: str, wait: float = 0.0, own: bool = True):
        super().__init__(told)
        self.wait, self.own = wait, own


class ServerClient:
    """One server's address and key. where: the entry of the config that names them, for messages. Thread-safe."""

    def __init__(
        self, where: str, *, url: str | None, key_variable: str | None, timeout: float, retries: int, concurrency: int
    ):
        self.where, self.url, self.retries = where, base_url(url, where), retries
        self.key = ApiKey(key_variable, where)
        local = httpx2.URL(self.url).host in ("localhost", "127.0.0.1", "::1")
        self._client = httpx2.Client(
            headers=self.key.headers(),
            timeout=httpx2.Timeout(timeout, connect=CONNECT),
            limits=httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            trust_env=not local,  # a server on this machine is not behind the proxy
        )
        self.stop = threading.Event()  # ends all waits

    def close(self) -> None:
        self.stop.set()
        self._client.close()

    def greet(self) -> list[str]:
        """The names of the models that are served, as far as the server lists them.

        Raises PromptpoolError if nothing answers at the address, or if the key is refused.
        """
        try:
            answer = self._client.get(f"{self.url}/models", timeout=CONNECT)
        except httpx2.RequestError as error:
            raise PromptpoolError(
                f"{self.where}.url: no server answers at {self.url} ({self.described(error)}); start it, or fix the url"
            ) from None
        if answer.status_code in (401, 403):
            raise self.refused(answer, key_advice(self.key))
        try:
            return [str(one["id"]) for one in answer.json()["data"]]
        except (ValueError, LookupError, TypeError):
            return []

    def post(self, path: str, body: object) -> httpx2.Response:
        """One try, whatever the answer. Raises httpx2.RequestError for timeouts and dropped connections."""
        return self._client.post(f"{self.url}/{path}", json=body)

    def once(self, path: str, body: object) -> httpx2.Response:
        """One try. Raises PassingError for a fault that another may overcome; any other answer is returned."""
        try:
            answer = self.post(path, body)
        except httpx2.RequestError as error:
            raise PassingError(self.described(error)) from None
        status = answer.status_code
        if status >= 500 or (status in PASSING and NO_CREDIT not in codes_of(answer)):
            raise PassingError(
                f"HTTP {status}: {shown_message(self.key, answer, 160)}",
                asked_wait(answer, LONGEST_ASKED),
                own=status >= 500,
            )
        return answer

    def persist(self, once: Callable[[], Result]) -> Result:
        """The result after as many tries as needed, with growing waits. Raises the last PassingError.

        Raises CancelledError if the client is closed meanwhile.
        """
        for attempt in range(self.retries + 1):
            try:
                return once()
            except PassingError as fault:
                last = fault
            if attempt < self.retries:
                self.pause(attempt, last.wait)
        raise last

    def pause(self, attempt: int, least: float = 0.0) -> None:
        """Waits after a try. Raises CancelledError if the client is closed meanwhile."""
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2**attempt) * random.uniform(0.5, 1.0)
        if self.stop.wait(max(wait, least)):
            raise CancelledError

    def given_up(self, last: PassingError, what: str) -> PromptpoolError:
        """What to say after the last try. what: the thing that was asked for, such as `one text`."""
        return PromptpoolError(
            f"{self.where}: {self.url} failed {self.retries + 1} times for {what}, last with {last}; "
            f"lower {self.where}.concurrency, raise its retries or timeout, or look at the server"
        )

    def refused(self, answer: httpx2.Response, remedy: str) -> PromptpoolError:
        return PromptpoolError(
            f"{self.where}: {self.url} refuses ({answer.status_code}: {shown_message(self.key, answer)}); {remedy}"
        )

    def described(self, error: Exception) -> str:
        return one_line(self.key.hidden(f"{type(error).__name__}: {error}".rstrip(": ")), 160)


def shown_message(key: ApiKey, answer: httpx2.Response, length: int = 300) -> str:
    """The server's message on one line, without the key that it may repeat."""
    return one_line(key.hidden(message_of(answer)), length)
