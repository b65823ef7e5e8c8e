"""A server's address and its API key."""

import os

import httpx2

from ..errors import PromptpoolError

WHERE = "backends.openai"


class ApiKey:
    """A key that is never shown: not in reprs, and not in messages that a server sends back.

    where: the entry of the config that names its variable, for messages.
    """

    def __init__(self, variable: str | None, where: str = WHERE):
        self.variable, self.where, self._value = variable, where, ""
        if variable is None:
            return
        self._value = os.environ.get(variable, "").strip()
        if not self._value:
            raise PromptpoolError(
                f"{where}.key_variable: the environment has no {variable}; export it, or set key_variable to null "
                "for a server that wants no key"
            )
        if not (self._value.isascii() and self._value.isprintable()):
            raise PromptpoolError(f"{where}.key_variable: {variable} does not hold a valid key; export it again")

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._value}"} if self._value else {}

    def hidden(self, text: str) -> str:
        return text.replace(self._value, "***") if self._value else text

    def __repr__(self) -> str:
        return f"Key({self.variable})"


def key_advice(key: ApiKey) -> str:
    """What to do about a key that a server refuses."""
    if key.headers():
        return f"export the right key as {key.variable}"
    return f"name the variable that holds its key in {key.where}.key_variable"


def base_url(url: str | None, where: str = WHERE) -> str:
    """The address to which `/chat/completions` is appended. A bare host gets `/v1`."""
    example = "such as http://localhost:8000/v1"
    if url is None:
        raise PromptpoolError(f"{where}.url: missing; give the server's address, {example}")
    try:
        parts = httpx2.URL(url)
    except httpx2.InvalidURL:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.host:
        raise PromptpoolError(f"{where}.url: {url!r} is not a web address; give the server's, {example}")
    if parts.userinfo:
        raise PromptpoolError(
            f"{where}.url: an address with a name or a password in it would be shown in logs; "
            "remove them, and put the key in the environment"
        )
    return str(parts if parts.path.strip("/") else parts.copy_with(path="/v1")).rstrip("/")
