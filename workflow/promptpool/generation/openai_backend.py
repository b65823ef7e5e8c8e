"""The backend for any OpenAI-compatible server, `vllm serve` included: concurrent requests, each with retries.

A refusal concerns one request only if the server has answered others, or answers a harmless probe (PROBE_REQUEST). That
text then has no positive, and the set goes on. Otherwise the refusal concerns all requests and ends the writing.
"""

import sys
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from typing import Self

import httpx2

from ..errors import PromptpoolError
from .answers import NoCompletionError, read_answer, refusal_of
from .backend import Progress, Request, WriterSetup, Written, encodable, one_line
from .server import WHERE, key_advice
from .server_client import PASSING, PassingError, ServerClient, shown_message
from .watch import Watch

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
        self.model = model
        self.max_new_tokens = sampling["max_new_tokens"]
        self.concurrency = options["concurrency"]
        self.body = {
            "model": model,
            "max_tokens": sampling["max_new_tokens"],
            "temperature": sampling["temperature"],
            "top_p": sampling["top_p"],
            **options["extra"],
        }
        named = ("url", "key_variable", "timeout", "retries", "concurrency")
        self.server = ServerClient(WHERE, **{key: options[key] for key in named})
        self._ended: PromptpoolError | None = None
        self.watch = Watch(self._advice, lasting=True)
        self._probing = threading.Lock()
        self._answers: dict[bool, bool] = {}  # by chat: whether the server has answered a request of that kind
        self._refusals: list[str] = []
        try:
            self.server.greet()
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
        self.server.close()

    def _halt(self) -> None:
        self.server.stop.set()
        self.watch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"OpenAIBackend({self.model!r} at {self.server.url})"

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
        try:
            return self.server.persist(lambda: self._once(request))
        except PassingError as fault:
            last = fault
        if last.own and self._answers_now(request.chat):
            try:
                return self._once(request)  # the server may have failed just for a moment
            except PassingError as fault:
                self.tell("failed", str(fault))
                return Written("", 0, 0, False, "failed", settled=True)
        raise self.server.given_up(last, "one text")

    def _once(self, request: Request) -> Written:
        """One try. Raises PassingError if another may succeed, PromptpoolError for a fault of all requests."""
        answer = self.server.once(*self._posted(request))
        if answer.status_code != 200:
            return self._refused(request, answer)
        try:
            found = read_answer(answer, request)
        except NoCompletionError:
            raise PassingError(f"no completion: {one_line(self.server.key.hidden(answer.text), 80)!r}") from None
        self._answers[request.chat] = True
        return found

    def _refused(self, request: Request, answer: httpx2.Response) -> Written:
        """A request without a text, if the refusal concerns only this request."""
        status = answer.status_code
        for_all = status < 400 or status in (*FOR_ALL, *PASSING)
        # A key may be revoked while in use, so earlier answers do not explain a 403.
        answers = self._answers_now if status == 403 else self._has_answered
        if for_all or not answers(request.chat):
            raise self._refusal(answer)
        fault = refusal_of(answer)
        self.tell(fault, f"HTTP {status}: {shown_message(self.server.key, answer, 160)}")
        return Written("", 0, 0, False, fault, settled=True)

    def _has_answered(self, chat: bool) -> bool:
        """Whether the server has answered a request of this kind. If none was tried, a harmless one is sent."""
        with self._probing:
            for attempt in range(self.server.retries + 1):
                if chat in self._answers:
                    break
                if attempt:
                    self.server.pause(attempt)
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
        try:
            answer = self.server.post(*self._posted(request))
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
            f"{WHERE}: {self.server.url} gives no answer to {texts} texts in a row ({fault}{last}); "
            f"{STATUS_REMEDIES[fault]}"
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
        if answer.status_code in (401, 403):
            remedy = key_advice(self.server.key)
        elif "chat template" in shown_message(self.server.key, answer):
            remedy = "use an instruction-tuned model, or style continue"
        elif answer.status_code == 404:
            remedy = f"fix {WHERE}.url, or name a model that it serves"
        else:
            remedy = f"fix {WHERE}.extra, or use another model"
        return self.server.refused(answer, remedy)
