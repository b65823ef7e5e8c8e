"""The backend for any OpenAI-compatible server, `vllm serve` included: concurrent requests, each with retries.

A refusal concerns one request only if the server has answered others, or answers a harmless probe (PROBE_REQUEST). That
text then has no positive, and the set goes on. Otherwise the refusal concerns all requests and ends the writing.
"""

import random
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from typing import Self

import httpx2

from ..errors import PromptpoolError
from .answers import NO_CREDIT, NoCompletionError, asked_wait, codes_of, message_of, read_answer, refusal_of
from .backend import Progress, Request, WriterSetup, Written, encodable, one_line
from .server import WHERE, ApiKey, base_url, key_advice
from .watch import Watch

CONNECT = 10  # seconds until a server counts as unreachable
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds before a retry; doubled each time
LONGEST_ASKED = 600.0  # seconds: the longest wait that a Retry-After may ask for
PASSING = (408, 409, 425, 429)  # statuses that another try may overcome, besides all of 500 and up
FOR_ALL = (401, 402, 404, 405, 407)  # statuses that concern every request
PROBE_REQUEST = {True: "Write one short sentence about bread.", False: "Bread is baked in an"}  # by chat
REFUSALS_SHOWN = 3  # refusals that are shown in the log
STATUS_REMEDIES = {
    "too-long": "take shorter texts, or a server whose context is longer",
    "filtered": "remove such texts from the corpus, or use another server",
    "refused": "remove such texts from the corpus, or use another server",
    "failed": "look at the server's own log",
    "refusal": "reword the style, or use another model",
    "empty": "look at the server's own log, or use another model",
}


class OpenAIBackend:
    """Checks the address, the key, and that a server answers there when it is opened."""

    def __init__(self, setup: WriterSetup):
        model, sampling, options = setup.model, setup.sampling, setup.options
        self.url, self.model = base_url(options["url"]), model
        self._key = ApiKey(options["key_variable"])
        self.max_new_tokens = sampling["max_new_tokens"]
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
        self._ended: PromptpoolError | None = None
        self.watch = Watch(self._advice, lasting=True)
        self._probing = threading.Lock()
        self._answers: dict[bool, bool] = {}  # by chat: whether the server has answered a request of that kind
        self._refusals: list[str] = []
        try:
            self._greet()
        except BaseException:
            self.close()
            raise

    def write(self, requests: Sequence[Request], progress: Progress | None = None) -> list[Written]:
        """A text for each request, in order. At most `concurrency` requests run at once.

        A request that the server refuses because of its own text gets a fault. A refusal of all requests, or too many
        faults in a row, ends the writing with a one-line PromptpoolError.
        """
        out: list[Written | None] = [None] * len(requests)
        pool = ThreadPoolExecutor(self.concurrency)
        numbers = {pool.submit(self._ask, request): number for number, request in enumerate(requests)}
        try:
            for done, future in enumerate(as_completed(numbers), 1):
                number = numbers[future]
                out[number] = future.result()
                self.watch.seen(out[number], requests[number].again)
                if progress:
                    progress(done, len(requests))
        except BaseException as error:
            self._halt()
            if isinstance(error, CancelledError) and self._ended:
                raise self._ended from None  # the thread of another text has the reason
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return out

    def close(self) -> None:
        self._halt()
        self._client.close()

    def _halt(self) -> None:
        self._stop.set()
        self.watch.close()

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
                f"{WHERE}.url: no server answers at {self.url} ({self._described(error)}); start it, or fix the url"
            ) from None
        if answer.status_code in (401, 403):
            raise self._refusal(answer)

    def _ask(self, request: Request) -> Written:
        """The answer to a request. A fault of all requests ends the others before a thread takes the next."""
        self.watch.admit()
        try:
            return self._tried(request)
        except PromptpoolError as error:
            self._ended = self._ended or error
            self._halt()
            raise

    def _tried(self, request: Request) -> Written:
        """The answer to a request, after as many tries as needed."""
        for attempt in range(self.retries + 1):
            try:
                return self._once(request)
            except _PassingError as fault:
                last = fault
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2**attempt) * random.uniform(0.5, 1.0)
            if attempt < self.retries and self._stop.wait(max(wait, last.wait)):
                raise CancelledError
        if last.own and self._answers_now(request.chat):
            try:
                return self._once(request)  # the server may have failed just for a moment
            except _PassingError as fault:
                self.tell("failed", str(fault))
                return Written("", 0, 0, False, "failed", settled=True)
        raise PromptpoolError(
            f"{WHERE}: {self.url} failed {self.retries + 1} times for one text, last with {last}; "
            f"lower {WHERE}.concurrency, raise its retries or timeout, or look at the server"
        )

    def _once(self, request: Request) -> Written:
        """One try. Raises _PassingError if another may succeed, PromptpoolError for a fault of all requests."""
        path, body = self._posted(request)
        try:
            answer = self._client.post(f"{self.url}/{path}", json=body)
        except httpx2.RequestError as error:  # timeouts and dropped connections
            raise _PassingError(self._described(error)) from None
        if answer.status_code == 200:
            try:
                found = read_answer(answer, request)
            except NoCompletionError:
                raise _PassingError(f"no completion: {one_line(self._key.hidden(answer.text), 80)!r}") from None
            self._answers[request.chat] = True
            return found
        if answer.status_code >= 500 or (answer.status_code in PASSING and NO_CREDIT not in codes_of(answer)):
            raise _PassingError(
                f"HTTP {answer.status_code}: {one_line(self._key.hidden(message_of(answer)), 160)}",
                asked_wait(answer, LONGEST_ASKED),
                own=answer.status_code >= 500,
            )
        return self._refused(request, answer)

    def _refused(self, request: Request, answer: httpx2.Response) -> Written:
        """A request without a text, if the refusal concerns only this request."""
        status = answer.status_code
        for_all = status < 400 or status in (*FOR_ALL, *PASSING)
        # A key may be revoked while in use, so earlier answers do not explain a 403.
        answers = self._answers_now if status == 403 else self._has_answered
        if for_all or not answers(request.chat):
            raise self._refusal(answer)
        fault = refusal_of(answer)
        self.tell(fault, f"HTTP {status}: {one_line(self._key.hidden(message_of(answer)), 160)}")
        return Written("", 0, 0, False, fault, settled=True)

    def _has_answered(self, chat: bool) -> bool:
        """Whether the server has answered a request of this kind. If none was tried, a harmless one is sent."""
        with self._probing:
            for attempt in range(self.retries + 1):
                if chat in self._answers:
                    break
                if attempt and self._stop.wait(min(LONGEST_WAIT, FIRST_WAIT * 2**attempt)):
                    raise CancelledError
                answers = self._probe(chat)
                if answers is not None:
                    self._answers.setdefault(chat, answers)
            return self._answers.get(chat, False)

    def _answers_now(self, chat: bool) -> bool:
        with self._probing:
            return bool(self._probe(chat))

    def _probe(self, chat: bool) -> bool | None:
        """Whether the server answers a harmless request; None if the answer does not show it."""
        request = Request(PROBE_REQUEST[chat], chat, 0)
        path, body = self._posted(request)
        try:
            answer = self._client.post(f"{self.url}/{path}", json=body)
            if answer.status_code == 200:
                read_answer(answer, request)
                return True
        except (httpx2.RequestError, NoCompletionError):
            return None
        return None if answer.status_code >= 500 or answer.status_code in PASSING else False

    def tell(self, fault: str, told: str) -> None:
        """Keeps the server's message for a text without an answer, and prints the first few."""
        self._refusals.append(told)
        if len(self._refusals) <= REFUSALS_SHOWN:
            print(f"Warning: {WHERE}: a text has no answer ({fault}: {told})", file=sys.stderr)

    def _advice(self, fault: str, texts: int) -> PromptpoolError:
        if fault == "thinking":
            return PromptpoolError(
                f"{WHERE}: {texts} texts in a row are thinking without an answer within max_new_tokens "
                f"({self.max_new_tokens}); switch thinking off in {WHERE}.extra (such as chat_template_kwargs: "
                "{enable_thinking: false}, or reasoning_effort: low), or raise max_new_tokens"
            )
        last = f", the last with {self._refusals[-1]}" if self._refusals else ""
        return PromptpoolError(
            f"{WHERE}: {self.url} gives no answer to {texts} texts in a row ({fault}{last}); {STATUS_REMEDIES[fault]}"
        )

    def _posted(self, request: Request) -> tuple[str, dict]:
        """The path and the body of a request. A key that `extra` sets to null is left out."""
        text = encodable(request.text)
        content = {"messages": [{"role": "user", "content": text}]} if request.chat else {"prompt": text}
        # Some servers store a seed in 32 bits.
        body = {"seed": request.seed % 2**31, **self.body, **content}
        path = "chat/completions" if request.chat else "completions"
        return path, {name: value for name, value in body.items() if value is not None}

    def _refusal(self, answer: httpx2.Response) -> PromptpoolError:
        message = one_line(self._key.hidden(message_of(answer)))
        if answer.status_code in (401, 403):
            remedy = key_advice(self._key)
        elif "chat template" in message:
            remedy = "use an instruction-tuned model, or style continue"
        elif answer.status_code == 404:
            remedy = f"fix {WHERE}.url, or name a model that it serves"
        else:
            remedy = f"fix {WHERE}.extra, or use another model"
        return PromptpoolError(f"{WHERE}: {self.url} refuses ({answer.status_code}: {message}); {remedy}")

    def _described(self, error: Exception) -> str:
        return one_line(self._key.hidden(f"{type(error).__name__}: {error}".rstrip(": ")), 160)


class _PassingError(Exception):
    """A fault that another try may overcome. wait: seconds to wait; own: whether the text may be the cause."""

    def __init__(self, told: str, wait: float = 0.0, own: bool = True):
        super().__init__(told)
        self.wait, self.own = wait, own
