"""Language models as writers: requests in, texts out, whatever runs them.

Three backends share one interface: `transformers` (in this process), `vllm` (its own interpreter) and `openai` (a
server). Sampling settings change the texts; a backend's options change only how it is run. Each request carries its
own seed, so that a text does not depend on what else is in its batch, as far as the hardware keeps the arithmetic.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, Self

from ..errors import PromptpoolError
from ..text.boilerplate import boilerplate
from .thinking import answer_of

BACKENDS = {"transformers": "TransformersBackend", "vllm": "VllmBackend", "openai": "OpenAIBackend"}
Progress = Callable[[int, int], None]  # (texts written so far, texts asked for)
# Why a request has no text: the reasons that a backend gives, with their meaning in docs/explanation/pairs.md.
FAULTS = ("too-long", "refused", "filtered", "failed", "thinking", "refusal")


@dataclass(frozen=True)
class Request:
    """An instruction, sent as one user message through the model's chat template, or a plain prefix to write on from.

    seed: a whole number from 0 of at most 63 bits; the same request with the same seed is written the same.
    again: whether another seed was tried before, in vain. Such requests are no sample of a set.
    """

    text: str
    chat: bool
    seed: int
    again: bool = False


@dataclass(frozen=True)
class Written:
    """What was written for one request: stripped, without special tokens and without the model's thinking.

    tokens: those the model wrote, its end-of-text included; finished: False where max_new_tokens cut it. fault: one of
    FAULTS where there is no text for a reason of its own; settled: whether another seed would end the same. A prompt
    that leaves no room for max_new_tokens in the model's context is not written: `too-long`, tokens 0, unfinished.
    """

    text: str
    prompt_tokens: int
    tokens: int
    finished: bool
    fault: str | None = None
    settled: bool = False


class Backend(Protocol):
    """Writes a text for each request, in order; a context manager that closes itself."""

    def write(self, requests: Sequence[Request], progress: Progress | None = None) -> list[Written]: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


@dataclass(frozen=True)
class WriterSetup:
    """What a backend is opened with.

    model: directory or hub id (for `openai`, the name that the server knows it by); sampling: `max_new_tokens`,
    `temperature` (0 always takes the likeliest token), `top_p`; options: the config's `backends.<kind>`.
    needs_chat: whether any request will be a chat.
    """

    model: str
    revision: str | None
    sampling: Mapping
    options: Mapping
    needs_chat: bool
    device: str = "auto"
    dtype: str = "auto"


def open_backend(kind: str, setup: WriterSetup) -> Backend:
    """A backend, checked and ready to write.

    PromptpoolError, one line, for what cannot work: a model that is no causal LM or has no chat template, a missing
    interpreter, an unreachable server, a missing key.
    """
    if kind not in BACKENDS:
        raise PromptpoolError(f"backend: no backend named {kind!r}; use one of {', '.join(BACKENDS)}")
    # Found by name, not by an import statement: the code digest of a set then holds its own backend's code alone.
    return getattr(import_module(f"{__package__}.{kind}_backend"), BACKENDS[kind])(setup)


def written(
    raw: str,
    request: Request,
    prompt_tokens: int,
    tokens: int,
    finished: bool,
    *,
    opens: bool = False,
    thought: bool = False,
) -> Written:
    """What a model wrote, tidied; fault `thinking` where it thought and no answer follows.

    opens: whether the chat template begins the thinking; thought: whether the server says that there was some.
    """
    text, found = answer_of(encodable(raw), asked=request.text, opened=opens and request.chat)
    # Cut while it thinks aloud, without a mark. A plain prefix may go on with any words.
    aloud = request.chat and not finished and boilerplate(request.text, text) == "thinking"
    if aloud or (not text and (found or thought)):
        return Written("", prompt_tokens, tokens, finished, "thinking")
    return Written(text, prompt_tokens, tokens, finished)


def unwritten(prompt_tokens: int) -> Written:
    """For a prompt that the model's context has no room for, or that is empty."""
    return Written("", prompt_tokens, 0, False, "too-long" if prompt_tokens else None, settled=True)


def tidy(text: str) -> str:
    """A model's answer without its thinking, stripped, fit for UTF-8. A block never closed is all thinking."""
    return answer_of(encodable(text))[0]


def encodable(text: str) -> str:
    """The text with its lone surrogates replaced: legal in a Python string, but tokenizers refuse them."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def one_line(message: object, most: int = 300) -> str:
    """A message on one line, cut where it is long."""
    told = " ".join(str(message).split())
    return told if len(told) <= most else told[: most - 3] + "..."
