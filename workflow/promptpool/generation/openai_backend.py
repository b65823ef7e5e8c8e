"""The backend for any OpenAI-compatible server, `vllm serve` included: many requests at once, each with its retries."""

import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from email.utils import parsedate_to_datetime
from typing import Self

import httpx2

from ..errors import PromptpoolError
from .backend import Progress, Request, Written, encodable, one_line, tidy

WHERE = "backends.openai"
CONNECT = 10  # seconds until a server counts as unreachable
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds before a retry; doubled each time
LONGEST_ASKED = 600.0  # seconds: what a Retry-After may ask for
PASSING = (408, 409, 425, 429)  # refusals that another try may overcome, beside all of 500 and up
TOO_LONG = ("context length", "context_length", "context size", "maximum context")


class OpenAIBackend:
    """Checked when opened: the address, the key, and that a server answers there."""

    def __init__(self, model: str, sampling: Mapping, options: Mapping):
        self.url, self.model = _base(options["url"]), model
        self._key = _Key(options["key_variable"])
        self.retries, self.concurrency = options["retries"], options["concurrency"]
        self.body = {
            "model": model,
            "max_tokens": sampling["max_new_tokens"],
            "temperature": sampling["temperature"],
            "top_p": sampling["top_p"],
            **options["extra"],
        }
        local = httpx2.URL(self.url).host in ("localhost", "127.0.0.1", "::1")
        self._client = httpx2.Client(
            headers=self._key.headers(),
            timeout=httpx2.Timeout(options["timeout"], connect=CONNECT),
            limits=httpx2.Limits(max_connections=self.concurrency, max_keepalive_connections=self.concurrency),
            trust_env=not local,  # a server on this machine is not behind the proxy
        )
        self._stop = threading.Event()
        try:
            self._greet()
        except BaseException:
            self.close()
            raise

    def write(self, requests: Sequence[Request], progress: Progress | None = None) -> list[Written]:
        """A text for each request, in order; at most `concurrency` are under way at once.

        The first request that can't be answered ends the others, as a PromptpoolError in one line.
        """
        out: list[Written | None] = [None] * len(requests)
        pool = ThreadPoolExecutor(self.concurrency)
        numbers = {pool.submit(self._ask, request): number for number, request in enumerate(requests)}
        try:
            for done, future in enumerate(as_completed(numbers), 1):
                out[numbers[future]] = future.result()
                if progress:
                    progress(done, len(requests))
        except BaseException:
            self._stop.set()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return out

    def close(self) -> None:
        self._stop.set()
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"OpenAIBackend({self.model!r} at {self.url})"

    def _greet(self) -> None:
        try:
            answer = self._client.get(f"{self.url}/models", timeout=CONNECT)
        except httpx2.RequestError as error:
            raise PromptpoolError(
                f"{WHERE}.url: no server answers at {self.url} ({self._told(error)}); start it, or mend the url"
            ) from None
        if answer.status_code in (401, 403):
            raise self._refusal(answer)

    def _ask(self, request: Request) -> Written:
        path, body = self._posted(request)
        fault, wait = "", 0.0
        for attempt in range(self.retries + 1):
            if attempt and self._stop.wait(wait):
                raise CancelledError
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2**attempt) * random.uniform(0.5, 1.0)
            try:
                answer = self._client.post(f"{self.url}/{path}", json=body)
            except httpx2.RequestError as error:  # timeouts and dropped connections
                fault = self._told(error)
                continue
            if answer.status_code == 200:
                try:
                    return _read(answer, request.chat)
                except (ValueError, LookupError, TypeError, AttributeError):
                    fault = f"no completion: {one_line(self._key.hidden(answer.text), 80)!r}"
                continue
            message = _message(answer)
            if answer.status_code < 500 and any(sign in message for sign in TOO_LONG):
                return Written("", 0, 0, False)  # the prompt does not fit the model: one row's loss
            passing = answer.status_code in PASSING and "insufficient_quota" not in message
            if not passing and answer.status_code < 500:
                raise self._refusal(answer)
            fault = f"HTTP {answer.status_code}: {one_line(self._key.hidden(message), 160)}"
            wait = max(wait, _asked_wait(answer))
        raise PromptpoolError(
            f"{WHERE}: {self.url} failed {self.retries + 1} times for one text, last with {fault}; "
            f"lower {WHERE}.concurrency, raise its retries or timeout, or look at the server"
        )

    def _posted(self, request: Request) -> tuple[str, dict]:
        """The path and the body of a request; a key that `extra` has set to null is left out."""
        text = encodable(request.text)
        told = {"messages": [{"role": "user", "content": text}]} if request.chat else {"prompt": text}
        # Some servers hold a seed in 32 bits.
        body = {"seed": request.seed % 2**31, **self.body, **told}
        path = "chat/completions" if request.chat else "completions"
        return path, {name: value for name, value in body.items() if value is not None}

    def _refusal(self, answer: httpx2.Response) -> PromptpoolError:
        message = one_line(self._key.hidden(_message(answer)))
        if answer.status_code in (401, 403):
            mend = _key_advice(self._key)
        elif "chat template" in message:
            mend = "use an instruction-tuned model, or style continue"
        elif answer.status_code == 404:
            mend = f"mend {WHERE}.url, or name a model that it serves"
        else:
            mend = f"mend {WHERE}.extra, or use another model"
        return PromptpoolError(f"{WHERE}: {self.url} refuses ({answer.status_code}: {message}); {mend}")

    def _told(self, error: Exception) -> str:
        return one_line(self._key.hidden(f"{type(error).__name__}: {error}".rstrip(": ")), 160)


class _Key:
    """A key that is shown nowhere: not in reprs, not in messages that a server sends back."""

    def __init__(self, variable: str | None):
        self.variable, self._value = variable, ""
        if variable is None:
            return
        self._value = os.environ.get(variable, "").strip()
        if not self._value:
            raise PromptpoolError(
                f"{WHERE}.key_variable: the environment has no {variable}; export it, or set key_variable to null "
                "for a server that wants no key"
            )
        if not (self._value.isascii() and self._value.isprintable()):
            raise PromptpoolError(f"{WHERE}.key_variable: what {variable} holds is no key; export it anew")

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._value}"} if self._value else {}

    def hidden(self, text: str) -> str:
        return text.replace(self._value, "***") if self._value else text

    def __repr__(self) -> str:
        return f"_Key({self.variable})"


def _key_advice(key: _Key) -> str:
    if key.headers():
        return f"export the right key as {key.variable}"
    return f"name the variable that holds its key in {WHERE}.key_variable"


def _base(url: str | None) -> str:
    """The address that `/chat/completions` is put behind; a bare host gets `/v1`."""
    example = "such as http://localhost:8000/v1"
    if url is None:
        raise PromptpoolError(f"{WHERE}.url: missing; give the server's address, {example}")
    try:
        parts = httpx2.URL(url)
    except httpx2.InvalidURL:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.host:
        raise PromptpoolError(f"{WHERE}.url: {url!r} is no web address; give the server's, {example}")
    if parts.userinfo:
        raise PromptpoolError(
            f"{WHERE}.url: an address with a name or a password in it would be shown in logs; "
            "take them out, and put the key in the environment"
        )
    return str(parts if parts.path.strip("/") else parts.copy_with(path="/v1")).rstrip("/")


def _read(answer: httpx2.Response, chat: bool) -> Written:
    """What a server wrote. Raises ValueError, LookupError or TypeError for an answer that is no completion."""
    content = answer.json()
    choice = content["choices"][0]
    text = choice["message"]["content"] if chat else choice["text"]
    if text is not None and not isinstance(text, str):
        raise TypeError("the text is no text")
    usage = content.get("usage") or {}
    return Written(
        tidy(text or ""),  # a reasoning model that was cut has thoughts and no text
        int(usage.get("prompt_tokens") or 0),
        int(usage.get("completion_tokens") or 0),
        choice.get("finish_reason") != "length",
    )


def _message(answer: httpx2.Response) -> str:
    """What a server says of a refusal, wherever its make puts it, and the error's code."""
    try:
        content = answer.json()
        error = content.get("error", content)
        if isinstance(error, str):
            return error
        told = error.get("message") or error.get("detail") or content
        return f"{told} {error.get('code') or ''}".strip()
    except (ValueError, AttributeError):
        return answer.text or answer.reason_phrase


def _asked_wait(answer: httpx2.Response) -> float:
    """Seconds that Retry-After asks for, given as a number or as a date; 0 where it asks for none."""
    asked = answer.headers.get("Retry-After", "")
    try:
        seconds = float(asked)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(asked).timestamp() - time.time()
        except ValueError:
            return 0.0
    return min(max(seconds, 0.0), LONGEST_ASKED) if seconds == seconds else 0.0
