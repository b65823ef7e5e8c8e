"""An OpenAI-compatible server on the loopback, of the standard library alone, that misbehaves as it is told."""

import hashlib
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-secret-0123456789abcdef"


class FakeServer(ThreadingHTTPServer):
    """Answers each request with its text in capitals; `plan` holds what happens to the next requests instead.

    A step of the plan is a status (int), (status, headers), "drop", "html", "fields", "long", "quota", a number of
    seconds to be slow by (float), or an answer as it is: {"status": ..., "content": ...}, or {"choice": ...} for what
    the first choice has. `rule`: text -> the step of that text, or None; it is asked before the plan. `needs_key`:
    whether a request without KEY is refused. What it saw: `bodies`, `paths`, `most_at_once`, `tries` (by text),
    `times`. To /embeddings it answers with `embed` of each text, the last text first.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.plan: deque = deque()
        self.always: object = None
        self.rule: Callable[[str], object] = lambda text: None
        self.embed: Callable[[str], list[float]] = embedding_of
        self.needs_key, self.delay = False, 0.0
        self.bodies: list[dict] = []
        self.paths: list[str] = []
        self.times: list[float] = []
        self.tries: Counter = Counter()
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *_: object) -> None:
        """A client that has gone away is no news."""


def embedding_of(text: str) -> list[float]:
    """Eight numbers that only this text has."""
    return [byte / 255 for byte in hashlib.sha256(text.encode()).digest()[:8]]


def joined(inputs: list[str] | list[list[int]]) -> str:
    """The texts of a request, or the ids in their place."""
    return "".join(one if isinstance(one, str) else " ".join(map(str, one)) for one in inputs)


@contextmanager
def fake_openai() -> Iterator[FakeServer]:
    """A running server; its port is free again afterwards."""
    server = FakeServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the system holds back an answer's body for 40 ms
    server: FakeServer

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        if self._refused():
            return
        self._send(200, {"data": [{"id": "writer"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body.get("prompt") or (joined(body["input"]) if "input" in body else body["messages"][0]["content"])
        with self.server.lock:
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
            self.server.bodies.append(body)
            self.server.paths.append(self.path)
            self.server.times.append(time.monotonic())
            self.server.tries[text] += 1
            step = self.server.rule(text)
            if step is None:
                step = self.server.plan.popleft() if self.server.plan else self.server.always
        try:
            time.sleep(step if isinstance(step, float) else self.server.delay)
            self._act(step, body, text)
        finally:
            with self.server.lock:
                self.server.at_once -= 1

    def _act(self, step: object, body: dict, text: str) -> None:
        if self._refused():
            return
        if isinstance(step, dict):
            self._send(step.get("status", 200), step.get("content") or self._completion(body, text, step["choice"]))
        elif step == "drop":
            self.close_connection = True
            self.connection.close()
        elif step == "html":
            self._send_raw(200, b"<html>gateway page</html>", {"Content-Type": "text/html"})
        elif step == "fields":
            self._send(200, {"choices": []})
        elif step == "long":
            message = "This model's maximum context length is 1024 tokens. However, you requested 30000 tokens."
            self._send(400, {"error": {"message": message, "code": "context_length_exceeded"}})
        elif step == "quota":
            self._send(429, {"error": {"message": "You have no credit left.", "code": "insufficient_quota"}})
        elif step is None or isinstance(step, float):
            self._send(200, self._completion(body, text))
        else:
            status, headers = step if isinstance(step, tuple) else (step, {})
            message = f"status {status} for the key {self.headers.get('Authorization')}"
            self._send(status, {"error": {"message": message}}, headers)

    def _completion(self, body: dict, text: str, other: dict | None = None) -> dict:
        if "input" in body:
            rows = [{"index": i, "embedding": self.server.embed(one)} for i, one in enumerate(body["input"])]
            tokens = sum(len(one.split() if isinstance(one, str) else one) for one in body["input"])
            return {"data": rows[::-1], "usage": {"total_tokens": tokens}}
        written = f"<think>hm</think> {text.upper()} "
        choice = {"text": written} if "prompt" in body else {"message": {"role": "assistant", "content": written}}
        cut = len(text.split()) > body["max_tokens"]
        return {
            "choices": [{**choice, "finish_reason": "length" if cut else "stop", **(other or {})}],
            "usage": {"prompt_tokens": len(text.split()), "completion_tokens": body["max_tokens"]},
        }

    def _refused(self) -> bool:
        if not self.server.needs_key or self.headers.get("Authorization") == f"Bearer {KEY}":
            return False
        self._send(401, {"error": {"message": f"Incorrect API key: {self.headers.get('Authorization')}"}})
        return True

    def _send(self, status: int, content: dict, headers: dict | None = None) -> None:
        self._send_raw(status, json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send_raw(self, status: int, content: bytes, headers: dict) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
