"""A Python that has imported the large libraries, from which tests fork Snakemake and its jobs.

A job of the tiny study works for some tenths of a second, and imports torch, transformers and MTEB for several. `warm`
starts one process that imports them, and makes a `python` that asks it for a fork. Only third-party modules are
imported, so that each fork imports promptpool as its PYTHONPATH says. An environment that a library reads when it is
imported, a job that may use the hub, and any other command line start a new interpreter.

Two differences remain: the numeric libraries of a fork have one thread, and its pools of processes fork too. So the
first whole run of the tiny study, which other tests look at, starts a new interpreter for Snakemake (PLAIN_PYTHON).
"""

import array
import atexit
import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

LIBRARIES = (
    "numpy", "pandas", "pyarrow.parquet", "yaml", "scipy.sparse", "scipy.stats", "sklearn.cluster", "sklearn.svm",
    "sklearn.linear_model", "sklearn.decomposition", "sklearn.feature_extraction.text", "torch", "torch.utils.data",
    "transformers", "transformers.models.auto.modeling_auto", "peft", "mteb", "sentence_transformers",
    "matplotlib.figure", "matplotlib.backends.backend_svg", "jinja2", "snakemake.cli", "snakemake.api",
    "snakemake.workflow", "snakemake.script", "snakemake.executors.local",
)  # fmt: skip
# What a job sets for itself before its imports (runtime/job.py), so that it may be set before the fork.
SET_BY_JOBS = {
    "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error",
}  # fmt: skip
# Variables that libraries read when they are imported, by their beginnings: with others than ours, a new interpreter.
# PLAIN_PYTHON is read by none: it is set to get a new interpreter.
READ_AT_IMPORT = (
    "HF_", "HUGGINGFACE", "TRANSFORMERS_", "SENTENCE_TRANSFORMERS", "TORCH_", "PYTORCH", "ATEN_", "ONEDNN",
    "DNNL", "CUDA_HOME", "CUDA_PATH", "HOME", "XDG_", "LANG", "LC_", "TZ", "MPL", "PYTHONHASHSEED", "PYTHONUTF8",
    "PYTHONIO", "LD_", "PLAIN_PYTHON", "http", "HTTP", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY", "COLUMNS",
    "OPENAI",
)  # fmt: skip
# The `python` that runs asks. It imports little, because it starts once a job.
CLIENT = """#!{python} -IS
import array, json, os, signal, socket, sys
REAL, SOCKET, READ, FOUND, ONLINE = {python!r}, {socket!r}, {read!r}, {found!r}, {online!r}
SNAKEMAKE = "import runpy, sys; sys.executable = sys.argv.pop(1); runpy.run_module('snakemake', None, '__main__', True)"
arguments = sys.argv[1:]
same = {{k: v for k, v in os.environ.items() if k.startswith(READ)}} == FOUND
script = bool(arguments) and arguments[0].endswith(".py") and os.path.isfile(arguments[0])
snakemake = arguments[:2] == ["-m", "snakemake"]
if same and snakemake and ONLINE:
    os.execv(REAL, [REAL, "-c", SNAKEMAKE, os.path.abspath(__file__), *arguments[2:]])
if script and "online=" in open(arguments[0], encoding="utf-8").read():
    same = False
if not same or not (script or snakemake):
    os.execv(REAL, [REAL, *arguments])
line = socket.socket(socket.AF_UNIX)
try:
    line.connect(SOCKET)
except OSError:
    os.execv(REAL, [REAL, *arguments])
mask = os.umask(0)
os.umask(mask)
asked = {{"arguments": arguments, "environ": dict(os.environ), "cwd": os.getcwd(), "umask": mask}}
request = json.dumps(asked).encode()
fds = array.array("i", [0, 1, 2])
line.sendmsg([len(request).to_bytes(8, "little")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
line.sendall(request)
child = int.from_bytes(line.recv(8), "little")
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda number, frame: os.kill(child, number))
answer = line.recv(4)
code = int.from_bytes(answer, "little") if len(answer) == 4 else 137
os._exit(code)
"""


def warm(folder: Path, online: bool = False) -> str:
    """The path of a `python` in `folder` that forks from one process, which ends with this one.

    folder: its name must be short, because a socket's path has at most 107 characters. online: Snakemake itself may use
    the hub, so it gets a new interpreter, and only its jobs are forks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place, client = folder / "socket", folder / "python"
    found = {name: value for name, value in os.environ.items() if name.startswith(READ_AT_IMPORT)}
    known = {"python": sys.executable, "socket": str(place), "read": READ_AT_IMPORT, "found": found}
    known["online"] = online
    client.write_text(CLIENT.format(**known), encoding="utf-8")
    client.chmod(0o755)
    environ = {**os.environ, **SET_BY_JOBS, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environ.pop("PYTHONPATH", None)
    command = [sys.executable, __file__, str(place), str(client)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ)
    atexit.register(server.stdin.close)
    if server.stdout.readline() != b"ready\n":
        raise RuntimeError("the process that tests fork from did not start")
    return str(client)


def serve(place: str, client: str) -> None:
    """Forks for each request until the process that started this one ends."""
    for name in LIBRARIES:
        importlib.import_module(name)
    for name in SET_BY_JOBS:
        os.environ.pop(name, None)
    gc.collect()
    gc.freeze()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(place)
    listening.listen(16)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a fork: its end is what it sends
    print("ready", flush=True)
    threading.Thread(target=lambda: (os.read(0, 1), os._exit(0)), daemon=True).start()
    while True:
        line, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            _become(line, client)
        line.close()


def _become(line: socket.socket, client: str) -> None:
    """Does what a new interpreter would do with the request's command line, and never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    fds = array.array("i")
    head, ancillary, *_ = line.recvmsg(8, socket.CMSG_LEN(3 * fds.itemsize))
    fds.frombytes(ancillary[0][2][: 3 * fds.itemsize])
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    request = b""
    while len(request) < int.from_bytes(head, "little"):
        request += line.recv(1 << 16)
    request = json.loads(request)
    line.sendall(os.getpid().to_bytes(8, "little"))
    os.chdir(request["cwd"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["environ"])
    sys.executable = client  # Snakemake starts its scripts with it
    sys.path[:] = [*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *sys.path[1:]]
    if "REACHED" in os.environ:  # a new interpreter imports it by itself (tests/reached)
        sys.modules.pop("sitecustomize", None)
        importlib.import_module("sitecustomize")
    method = multiprocessing.context._default_context.get_context
    multiprocessing.get_context = lambda name=None: method("fork" if name == "forkserver" else name)
    threading.Thread(target=_end_with, args=(line, os.getpid()), daemon=True).start()
    code = _run(request["arguments"])
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    line.sendall(code.to_bytes(4, "little"))
    os._exit(code)


def _end_with(line: socket.socket, parent: int) -> None:
    """If whoever asked was killed, its fork is too."""
    if line.recv(1) == b"" and os.getpid() == parent:
        os._exit(137)


def _run(arguments: list[str]) -> int:
    try:
        if arguments[0] == "-m":
            sys.argv = arguments[1:]
            sys.path.insert(0, os.getcwd())
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = arguments
            sys.path.insert(0, str(Path(arguments[0]).parent))
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        while any(t is not threading.current_thread() and not t.daemon for t in threading.enumerate()):
            time.sleep(0.01)  # a new interpreter waits for its threads too
    return 0


if __name__ == "__main__":
    serve(*sys.argv[1:])
