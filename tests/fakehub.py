"""A model hub on loopback: the parts of the Hugging Face Hub's protocol that its client uses to list and to download.

Repositories are folders of commits under one root; branches and tags are names that can be moved. What goes wrong with
a real hub can be made to go wrong here: gated and private repositories, bad tokens, connections that break halfway,
a disk's worth of files, a mirror that answers with another commit.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

KINDS = {"models": "model", "datasets": "dataset"}
API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.+))?)?")
RESOLVE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Repository:
    """One repository: its commits (id -> folder), its branches and tags (name -> id), and who may read it."""

    commits: dict[str, Path] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    allowed: set[str] = field(default_factory=set)  # tokens


class FakeHub:
    """Serves its repositories until `stop`. `requests` holds (method, path, Range header or None, status) of each."""

    def __init__(self, root: Path):
        self.root = Path(root)
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.requests: list[tuple[str, str, str | None, int]] = []
        self.tokens: set[str] = set()  # those the hub knows at all
        self.breaks: dict[str, int] = {}  # file -> bytes after which the connection breaks, once
        self.broken_for_good: set[str] = set()  # files whose connection always breaks
        self.sizes: dict[str, int] = {}  # file -> bytes that the listing claims
        self.claims: str | None = None  # a commit that every file is said to be of
        self.stopped = False
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.daemon_threads = True
        self.server.hub = self
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        """Closes the port: from now on no connection is accepted, and none that is open is answered."""
        self.stopped = True
        self.server.shutdown()
        self.server.server_close()

    def commit(
        self, kind: str, repo: str, files: Mapping[str, bytes | Path], commit: str | None = None, ref: str = "main"
    ) -> str:
        """Adds a commit to `repo` (kind `model` or `dataset`), moves `ref` to it, and returns its id."""
        contents = {name: body if isinstance(body, bytes) else body.read_bytes() for name, body in files.items()}
        digest = hashlib.sha1(repr(sorted(contents.items())).encode()).hexdigest()
        commit = commit or digest
        folder = self.root / kind / repo / commit
        for name, body in contents.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(body)
        repository = self.repositories.setdefault((kind, repo), Repository())
        repository.commits[commit] = folder
        repository.refs[ref] = commit
        return commit

    def fetched(self) -> list[str]:
        """Files that were asked for with GET, in order, by name."""
        got = [path for method, path, _, status in self.requests if method == "GET" and status < 400]
        return [match[4] for path in got if (match := RESOLVE.fullmatch(path))]


@contextmanager
def serving(root: Path) -> Iterator[FakeHub]:
    hub = FakeHub(root)
    try:
        yield hub
    finally:
        hub.stop()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the system holds back an answer's body for 40 ms

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._route()

    def do_HEAD(self) -> None:
        self._route()

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._route()

    @property
    def hub(self) -> FakeHub:
        return self.server.hub

    def _route(self) -> None:
        if self.hub.stopped:
            self.close_connection = True
            return
        url = urlsplit(self.path)
        path, query = unquote(url.path), parse_qs(url.query)
        if match := API.fullmatch(path):
            kind, repo, what, revision, below = match.groups()
            found = self._find(KINDS[kind], repo, revision)
            if found and what == "tree":
                self._tree(found[0], below or "", query.get("recursive", ["false"])[0].lower() in ("true", "1"))
            elif found and what == "paths-info":
                there = [name for name in self._paths() if (found[0] / name).exists()]
                self._json([_described(self.hub, found[0], name) for name in there])
            elif found:
                self._info(kind, repo, *found)
        elif match := RESOLVE.fullmatch(path):
            kind = "dataset" if match[1] else "model"
            found = self._find(kind, match[2], match[3], content=True)
            if found:
                self._file(found[0] / match[4], found[1], match[4])
        else:
            self._refuse(404, "EntryNotFound", path)

    def _paths(self) -> list[str]:
        try:
            return json.loads(self.body)["paths"]
        except ValueError:
            return parse_qs(self.body.decode()).get("paths", [])

    def _find(self, kind: str, repo: str, revision: str | None, content: bool = False) -> tuple[Path, str] | None:
        """Folder and id of the commit that is asked for; a refusal is sent where there is none, or no right to it."""
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        repository = self.hub.repositories.get((kind, repo))
        if token and token not in self.hub.tokens:
            self._refuse(401, None, "Invalid credentials in Authorization header")
        elif repository is None or (repository.private and token not in repository.allowed):
            # The real hub does not tell strangers whether a private repository is there.
            self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        elif content and repository.gated and token not in repository.allowed:
            self._refuse(403 if token else 401, "GatedRepo", f"Access to {kind} {repo} is restricted")
        else:
            commit = repository.refs.get(revision or "main", revision)
            if commit in repository.commits:
                return repository.commits[commit], commit
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return None

    def _info(self, kind: str, repo: str, folder: Path, commit: str) -> None:
        repository = self.hub.repositories[KINDS[kind], repo]
        files = [{"rfilename": name} for name in _names(folder)]
        facts = {"_id": "0" * 24, "id": repo, "sha": commit, "siblings": files, "tags": [], "downloads": 0, "likes": 0}
        facts |= {"private": repository.private, "gated": "manual" if repository.gated else False, "disabled": False}
        self._json({**facts, "lastModified": "2024-01-01T00:00:00.000Z", "createdAt": "2024-01-01T00:00:00.000Z"})

    def _tree(self, folder: Path, below: str, recursive: bool) -> None:
        if not (folder / below).is_dir():
            self._refuse(404, "EntryNotFound", below)
            return
        found = (folder / below).rglob("*") if recursive else (folder / below).iterdir()
        self._json([_described(self.hub, folder, path.relative_to(folder).as_posix()) for path in sorted(found)])

    def _file(self, path: Path, commit: str, name: str) -> None:
        if not path.is_file():
            self._refuse(404, "EntryNotFound", name)
            return
        body = path.read_bytes()
        headers = {"ETag": f'"{_blob(body)}"', "X-Repo-Commit": self.hub.claims or commit, "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked:
            start, stop = int(asked[1]), min(int(asked[2] or len(body)), len(body) - 1) + 1
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
            self._send(206, body[start:stop], headers, "application/octet-stream", name)
        else:
            self._send(200, body, headers, "application/octet-stream", name)

    def _json(self, content: object) -> None:
        self._send(200, json.dumps(content).encode())

    def _refuse(self, status: int, code: str | None, message: str) -> None:
        headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self._send(status, json.dumps({"error": message}).encode(), headers)

    def _send(
        self, status: int, body: bytes, headers: Mapping[str, str] = {}, kind: str = "application/json", name: str = ""
    ) -> None:
        self.hub.requests.append((self.command, unquote(urlsplit(self.path).path), self.headers.get("Range"), status))
        self.send_response(status)
        for key, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        kept = 0 if name in self.hub.broken_for_good else self.hub.breaks.pop(name, None)
        self.wfile.write(body[:kept])
        if kept is not None:
            self.close_connection = True


def _names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _described(hub: FakeHub, folder: Path, name: str) -> dict:
    path = folder / name
    if path.is_dir():
        return {"type": "directory", "oid": hashlib.sha1(name.encode()).hexdigest(), "size": 0, "path": name}
    body = path.read_bytes()
    return {"type": "file", "oid": _blob(body), "size": hub.sizes.get(name, len(body)), "path": name}


def _blob(body: bytes) -> str:
    """Git's id of a file."""
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
