"""Language models as writers: requests in, texts out, with any backend.

Three backends share one interface: `transformers` (in this process), `vllm` (its own interpreter) and `openai` (a
server). Sampling settings change the texts; a backend's options change only how it runs. Each request carries its own
seed, so a text does not depend on the rest of its batch, up to the hardware's rounding.
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
# Why a request has no text, as backends report it. docs/explanation/pairs.md explains each reason.
FAULTS = ("too-long", "refused", "filtered", "failed", "thinking", "refusal")


@dataclass(frozen=True)
class Request:
    """An instruction, sent as one user message through the model's chat template, or a plain prefix to continue.

    seed: a whole number of at most 63 bits, not negative. The same request with the same seed gives the same text.
    again: whether another seed was tried before without success. Such requests are not a sample of the set.
    """

    text: str
    chat: bool
    seed: int
    again: bool = False


@dataclass(frozen=True)
class Written:
    """The text written for one request: stripped, without special tokens and without the model's thinking.

    tokens: how many the model wrote, its end-of-text included. finished: False if max_new_tokens cut the text. fault:
    one of FAULTS if there is no text for a known reason. settled: whether another seed would end the same. A prompt
    that leaves no space for max_new_tokens in the model's context is not written: `too-long`, tokens 0, unfinished.
    """

    text: str
    prompt_tokens: int
    tokens: int
    finished: bool
    fault: str | None = None
    settled: bool = False


class Backend(Protocol):
    """Writes a text for each request, in order. A context manager that closes itself."""

    def write(self, requests: Sequence[Request], progress: Progress | None = None) -> list[Written]: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


@dataclass(frozen=True)
class WriterSetup:
    """The settings with which a backend is opened.

    model: directory or hub id (for `openai`, the server's name for it). sampling: `max_new_tokens`, `temperature` (0
    always takes the likeliest token), `top_p`. options: the config's `backends.<kind>`. needs_chat: whether any request
    will be a chat.
    """

    model: str
    revision: str | None
    sampling: Mapping
    options: Mapping
    needs_chat: bool
    device: str = "auto"
    dtype: str = "auto"


def open_backend(kind: str, setup: WriterSetup) -> Backend:
    """Opens a backend that is checked and ready to write.

    Raises PromptpoolError, one line, for what cannot work: a model that is not a causal LM or has no chat template, a
    missing interpreter, an unreachable server, a missing key.
    """
    if kind not in BACKENDS:
        raise PromptpoolError(f"backend: no backend named {kind!r}; use one of {', '.join(BACKENDS)}")
    # Looked up by name, not imported by a statement: a set's code digest then covers only its own backend's code.
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
    """The text a model wrote, cleaned up. Its fault is `thinking` if the model thought and gave no answer.

    opens: whether the chat template begins the thinking. thought: whether the server reports thinking.
    """
    text, found = answer_of(encodable(raw), asked=request.text, opened=opens and request.chat)
    # Cut while thinking aloud, without a mark. A plain prefix may be continued with any words.
    aloud = request.chat and not finished and boilerplate(request.text, text) == "thinking"
    if aloud or (not text and (found or thought)):
        return Written("", prompt_tokens, tokens, finished, "thinking")
    return Written(text, prompt_tokens, tokens, finished)


def unwritten(prompt_tokens: int) -> Written:
    """For a prompt that is empty, or too long for the model's context."""
    return Written("", prompt_tokens, 0, False, "too-long" if prompt_tokens else None, settled=True)


def tidy(text: str) -> str:
    """A model's answer without its thinking, stripped and valid UTF-8. A block that is never closed is all thinking."""
    return answer_of(encodable(text))[0]


def encodable(text: str) -> str:
    """The text with its lone surrogates replaced. Python strings may hold them, but tokenizers refuse them."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def one_line(message: object, most: int = 300) -> str:
    """A message on one line, shortened if it is long."""
    line = " ".join(str(message).split())
    return line if len(line) <= most else line[: most - 3] + "..."
