"""The backend that writes by a server, opened on a pretended one."""

from fake_openai import FakeServer
from promptpool.generation.backend import WriterSetup, open_backend
from promptpool.generation.openai_backend import OpenAIBackend

SAMPLING = {"max_new_tokens": 8, "temperature": 0.7, "top_p": 0.9}
OPTIONS = {"url": None, "key_variable": None, "concurrency": 4, "timeout": 5.0, "retries": 4, "extra": {}}


def opened(server: FakeServer, **options: object) -> OpenAIBackend:
    """The backend on `server`; options: of `backends.openai`, in place of OPTIONS."""
    own = {**OPTIONS, "url": server.url, **options}
    return open_backend("openai", WriterSetup("writer", None, SAMPLING, own, needs_chat=True))
