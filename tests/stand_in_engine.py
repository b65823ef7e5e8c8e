"""Programs that stand in for vLLM, Text Embeddings Inference, llama.cpp and its converter."""

import sys
from pathlib import Path

SERVER = """#!{python}
import sys, threading
sys.path[:0] = {paths!r}
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
from pathlib import Path
from promptpool.export.served_parity import Reference
import fake_openai
reference = Reference(Path(given["--model-id"]))
class Server(fake_openai.FakeServer):
    def __init__(self):
        fake_openai.ThreadingHTTPServer.__init__(self, ("127.0.0.1", int(given["--port"])), fake_openai._Handler)
        self.plan, self.always, self.rule = fake_openai.deque(), None, lambda text: None
        self.needs_key, self.delay, self.bodies, self.paths, self.times = False, 0.0, [], [], []
        self.tries, self.at_once, self.most_at_once = fake_openai.Counter(), 0, 0
        self.lock = threading.Lock()
        self.embed = lambda text: [float(x) for x in reference.vectors([text])[0]]
Server().serve_forever()
"""
# Answers that it is ready, starts a process of its own as vLLM does, and does not end when it is asked to.
STUBBORN = """#!{python}
import http.server, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", __file__])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler).serve_forever()
"""


def program(folder: Path, name: str, text: str) -> Path:
    """An executable file of that text."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
    return folder / name


def server_program() -> str:
    """A server with the command line of Text Embeddings Inference, which gives the vectors of sentence-transformers."""
    return SERVER.format(python=sys.executable, paths=[path for path in sys.path if path])


def processes(word: str) -> list[str]:
    """The command lines of the machine's processes that hold a word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in command:
            found.append(command)
    return found
