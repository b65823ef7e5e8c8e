"""Reads what an OpenAI-compatible server returns: texts, refusals, waits. The shape decides, never the wording."""

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import httpx2

from .backend import Request, Written, written

# Values of `finish_reason` for a text that max_tokens cut, and for one that the server's filter removed.
CUT = ("length", "max_tokens", "max_output_tokens", "model_length")
FILTERED = ("content_filter", "safety", "recitation", "prohibited_content", "blocklist", "sensitive")
THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details", "thinking")  # a message's fields for thinking
# Error codes (not messages) that say what a refusal is about. Any other refusal counts as `refused`.
TOO_LONG_CODES = {"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}
FILTER_CODES = {"content_filter", "content_policy_violation", "responsibleaipolicyviolation", "data_inspection_failed"}
NO_CREDIT = "insufficient_quota"


class NoCompletionError(ValueError):
    """The answer is not a completion; another try may return one."""


def read_answer(answer: httpx2.Response, request: Request) -> Written:
    """What a server wrote. Raises NoCompletionError if the answer has another shape."""
    try:
        content = answer.json()
        choice = content["choices"][0]
        message = choice["message"] if request.chat else choice
        text, thought = _text(message.get("content" if request.chat else "text"))
        thought = thought or any(message.get(name) for name in THOUGHTS)
        usage = content.get("usage") or {}
        prompt, tokens = (int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens"))
        thought = thought or bool((usage.get("completion_tokens_details") or {}).get("reasoning_tokens"))
        ended = str(choice.get("finish_reason") or "").lower()
        declined = bool(message.get("refusal"))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise NoCompletionError(str(error)) from None
    if ended == "error":
        raise NoCompletionError("finish_reason error")
    if ended in FILTERED:
        return Written("", prompt, tokens, True, "filtered")
    if declined and not text.strip():
        return Written("", prompt, tokens, True, "refusal")
    # A text cut before its first word was spent on thinking that the server does not return.
    return written(text, request, prompt, tokens, ended not in CUT, thought=thought or ended in CUT)


def _text(content: object) -> tuple[str, bool]:
    """(a message's text, whether parts of it are thinking). The content is a string, nothing, or a list of parts."""
    if content is None:
        return "", False
    if isinstance(content, str):
        return content, False
    if not isinstance(content, list):
        raise TypeError("the content is not text")
    parts = [part if isinstance(part, Mapping) else {"type": "text", "text": part} for part in content]
    texts = [part.get("text") for part in parts if part.get("type") in ("text", "output_text")]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("the content is not text")
    return "".join(texts), any(part.get("type") in ("thinking", "reasoning") for part in parts)


def refusal_of(answer: httpx2.Response) -> str:
    """Why a server refuses one request: `too-long`, `filtered`, or `refused` for any other reason."""
    codes = codes_of(answer)
    if answer.status_code == 413 or codes & TOO_LONG_CODES:
        return "too-long"
    return "filtered" if codes & FILTER_CODES else "refused"


def codes_of(answer: httpx2.Response) -> set[str]:
    """The codes of an error, in lower case, wherever the server puts them."""
    try:
        content = answer.json()
    except ValueError:
        return set()
    found, level = set(), [content]
    for _ in range(3):
        level = [one for one in level if isinstance(one, dict)]
        found |= {str(one[key]).lower() for one in level for key in ("code", "type") if one.get(key)}
        level = [one.get(key) for one in level for key in ("error", "innererror")]
    return found


def message_of(answer: httpx2.Response) -> str:
    """A server's message for a refusal, wherever it puts it, followed by the error's code."""
    try:
        content = answer.json()
        error = content.get("error", content)
        if isinstance(error, str):
            return error
        message = error.get("message") or error.get("detail") or content
        return f"{message} {error.get('code') or ''}".strip()
    except (ValueError, AttributeError):
        return answer.text or answer.reason_phrase


def asked_wait(answer: httpx2.Response, longest: float) -> float:
    """Seconds that Retry-After asks for, as a number or as a date, at most `longest`; 0 if it asks for none."""
    asked = answer.headers.get("Retry-After", "")
    try:
        seconds = float(asked)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(asked).timestamp() - time.time()
        except ValueError:
            return 0.0
    return min(max(seconds, 0.0), longest) if seconds == seconds else 0.0
