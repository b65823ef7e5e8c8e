"""A model hub on loopback that takes uploads: what the Hugging Face Hub's client needs of the hub's protocol to send.

Large files come in parts over LFS, or as xorbs and shards of Xet. Connections can be dropped: every n-th request, or
the next that a pattern matches, ends without an answer. `acknowledged` lists what was taken and answered, in order.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_secretsecretsecretsecretsecret"
PART = 5_000_000  # bytes of a part of a large file
LARGE = 100_000  # bytes from which a file is large


def blob_id(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


@dataclass
class Taken:
    """A repository: its files, as name -> content, or -> (sha256, size) for a large one; and its commits' messages."""

    private: bool = False
    hidden: bool = False  # this token may not see it
    files: dict[str, bytes | tuple[str, int]] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    head: str = "a" * 40


class UploadHub(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Taken] = {}
        self.owners = {"owner"}  # whom the token may write for
        self.large: dict[str, int] = {}  # sha256 -> size of the large files that are held
        self.parts: dict[tuple[str, int], bytes] = {}
        self.xorbs: dict[str, bytes] = {}
        self.acknowledged: list[str] = []
        self.requests: list[str] = []
        self.drop_every = 0
        self.drop_next: list[str] = []  # patterns: the next request that one matches is dropped, once
        self.lose_answers = False  # whether a dropped request was worked on first, else its body is cut in half
        self.dropped = 0
        self.count = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """A client that has gone away is no news."""


@contextmanager
def upload_hub() -> Iterator[UploadHub]:
    hub = UploadHub()
    thread = threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the system holds back an answer's body for 40 ms
    server: UploadHub

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        self._take()

    def do_HEAD(self) -> None:
        self._take()

    def do_POST(self) -> None:
        self._take()

    def do_PUT(self) -> None:
        self._take()

    def _take(self) -> None:
        hub = self.server
        with hub.lock:
            hub.count += 1
            asked = f"{self.command} {self.path}"
            named = next((shape for shape in hub.drop_next if re.search(shape, asked)), None)
            if named:
                hub.drop_next.remove(named)
            drop = bool(named) or (bool(hub.drop_every) and hub.count % hub.drop_every == 0)
            hub.dropped += drop
            hub.requests.append(asked)
        if drop and not hub.lose_answers:
            self._read(share=0.5)
            self._hang_up()
            return
        body = self._read()
        with hub.lock:
            status, content, headers, what = self._answer(unquote(urlsplit(self.path).path), body)
            if not drop and what:
                hub.acknowledged.append(what)
        if drop:
            self._hang_up()
            return
        sent = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(sent)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(sent)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _read(self, share: float = 1) -> bytes:
        """The body, or its first part; chunked or of a known length."""
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
                if share < 1:
                    return b""
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(int(self.headers.get("Content-Length") or 0) * share))

    # --- answers: status, content, headers, what is acknowledged ---------------------------------------

    def _answer(self, path: str, body: bytes) -> tuple[int, object, Mapping[str, str], str | None]:
        hub = self.server
        if path.startswith("/storage/"):
            return self._part(path, body)
        if path.startswith("/cas/"):
            return self._xet(path.removeprefix("/cas"), body)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _refused(401, f"Invalid credentials: {self.headers.get('Authorization')}")
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}, {}, None
        match = re.fullmatch(r"(?:/api/models)?/([^/]+/[^/]+?)(?:\.git/info)?/?(?:/(\S*))?", path)
        held = hub.repositories.get(match[1])
        if held is None or held.hidden:
            return _refused(404, "Repository not found", "RepoNotFound")
        return self._of_repository(match[1], held, match[2] or "", body)

    def _of_repository(self, repo: str, held: Taken, what: str, body: bytes) -> tuple:
        if what == "" or what.startswith("revision/"):
            return 200, self._info(repo, held), {}, None
        if what.startswith("tree/"):
            return 200, [{"type": "file", **_described(name, one)} for name, one in held.files.items()], {}, None
        if repo.split("/")[0] not in self.server.owners:
            return _refused(403, "Forbidden: you don't have the right to write here")
        if what.startswith("preupload/"):
            return 200, {"files": [self._mode(held, file) for file in json.loads(body)["files"]]}, {}, None
        if what.startswith("xet-write-token/"):
            return 200, {"casUrl": f"{self.server.url}/cas", "exp": 4_000_000_000, "accessToken": "xet"}, {}, None
        if what == "lfs/objects/batch":
            objects = [self._lfs(one) for one in json.loads(body)["objects"]]
            return 200, {"transfer": "multipart", "objects": objects}, {}, None
        if what.startswith("commit/"):
            return self._commit(repo, held, body)
        return _refused(404, f"{what} is not here")

    def _create(self, given: dict) -> tuple:
        repo = f"{given['organization']}/{given['name']}"
        if given["organization"] not in self.server.owners and repo not in self.server.repositories:
            return _refused(403, "You don't have the rights to create a model under this namespace")
        if repo in self.server.repositories:
            return 409, {"error": "You already created this model repo", "url": f"{self.server.url}/{repo}"}, {}, None
        private = given.get("visibility") == "private"
        self.server.repositories[repo] = Taken(private, files={".gitattributes": b"*.bin filter=lfs\n"})
        return 200, {"url": f"{self.server.url}/{repo}"}, {}, f"create {repo}"

    def _info(self, repo: str, held: Taken) -> dict:
        files = []
        for name, one in held.files.items():
            known = _described(name, one)
            lfs = {"lfs": {"sha256": one[0], "size": one[1], "pointerSize": 130}} if isinstance(one, tuple) else {}
            files.append({"rfilename": name, "size": known["size"], "blobId": known["oid"], **lfs})
        return {"_id": "0" * 24, "id": repo, "sha": held.head, "private": held.private, "siblings": files, "tags": []}

    def _mode(self, held: Taken, file: dict) -> dict:
        one = held.files.get(file["path"])
        oid = None if one is None else one[0] if isinstance(one, tuple) else blob_id(one)
        mode = "lfs" if file["size"] >= LARGE else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}

    def _lfs(self, one: dict) -> dict:
        if one["oid"] in self.server.large:
            return {"oid": one["oid"], "size": one["size"]}
        numbers = range(1, -(-one["size"] // PART) + 1)
        parts = {str(number): f"{self.server.url}/storage/{one['oid']}/{number}" for number in numbers}
        done = f"{self.server.url}/storage/{one['oid']}/complete"
        return {**one, "actions": {"upload": {"href": done, "header": {"chunk_size": str(PART), **parts}}}}

    def _part(self, path: str, body: bytes) -> tuple:
        _, _, oid, part = path.split("/")
        if part != "complete":
            self.server.parts[oid, int(part)] = body
            return 200, {}, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}, f"part {oid} {part}"
        whole = b"".join(self.server.parts[key] for key in sorted(self.server.parts) if key[0] == oid)
        if hashlib.sha256(whole).hexdigest() != oid:
            return _refused(400, "The parts are not the file")
        self.server.large[oid] = len(whole)
        return 200, {"success": True}, {}, f"file {oid}"

    def _xet(self, path: str, body: bytes) -> tuple:
        if match := re.fullmatch(r"/v1/xorbs/default/(\w+)", path):
            inserted = match[1] not in self.server.xorbs
            self.server.xorbs[match[1]] = body
            return 200, {"was_inserted": inserted}, {}, f"xorb {match[1]}"
        if path in ("/shards", "/v1/shards"):
            return 200, {"result": 1}, {}, "shard"
        return _refused(404, f"{path} is not here")

    def _commit(self, repo: str, held: Taken, body: bytes) -> tuple:
        lines = [json.loads(line) for line in body.splitlines()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        if header.get("parentCommit") not in (None, held.head):
            return _refused(412, "A commit has happened since. Please refresh and try again.")
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                held.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                held.files[value["path"]] = (value["oid"], value["size"])
            elif line["key"] == "deletedFile":
                del held.files[value["path"]]
        held.commits.append(header["summary"])
        held.head = commit = hashlib.sha1(body).hexdigest()
        url = f"{self.server.url}/{repo}/commit/{commit}"
        return 200, {"commitUrl": url, "commitOid": commit}, {}, f"commit {commit}"


def _described(name: str, one: bytes | tuple[str, int]) -> dict:
    if isinstance(one, tuple):
        return {"path": name, "size": one[1], "oid": blob_id(one[0].encode())}
    return {"path": name, "size": len(one), "oid": blob_id(one)}


def _refused(status: int, message: str, code: str | None = None) -> tuple:
    headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
    return status, {"error": message}, headers, None
