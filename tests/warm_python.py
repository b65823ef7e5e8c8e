"""A Python that has imported the large libraries, from which tests fork Snakemake and its jobs.

A job of the tiny study works for some tenths of a second, and imports torch, transformers and MTEB for several. `warm`
starts one process that imports them, and makes a `python` that asks it for a fork: of the kind that a user's jobs are
forks of (promptpool/runtime/fork_server.py), but for all runs of a test session, and for Snakemake too. A fork has this
checkout's promptpool as well, or imports the one that its PYTHONPATH says. An environment that a library reads when it
is imported, a job that may use the hub, and any other command line start a new interpreter.

Two differences remain: the numeric libraries of a fork have one thread, and its pools of processes fork too. So the
first whole run of the tiny study, which other tests look at, starts a new interpreter for Snakemake (PLAIN_PYTHON).
"""

import atexit
import ctypes
import gc
import importlib
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
from importlib.machinery import PathFinder
from pathlib import Path

WORKFLOW = str(Path(__file__).parents[1] / "workflow")

LIBRARIES = (
    "numpy", "pandas", "pyarrow.parquet", "yaml", "scipy.sparse", "scipy.stats", "sklearn.cluster", "sklearn.svm",
    "sklearn.linear_model", "sklearn.decomposition", "sklearn.feature_extraction.text", "torch", "torch.utils.data",
    "transformers", "transformers.models.auto.modeling_auto", "peft", "mteb", "sentence_transformers",
    "matplotlib.figure", "matplotlib.backends.backend_svg", "jinja2", "snakemake.cli", "snakemake.api",
    "snakemake.workflow", "snakemake.script", "snakemake.executors.local",
)  # fmt: skip
HUGE, MADV_COLLAPSE = 1 << 21, 25  # bytes; linux/mman.h, since Linux 6.1
# Calls whose results their modules keep: they would take a fork longer than its work.
KEPT = (
    ("transformers.conversion_mapping", "get_checkpoint_conversion_mapping", ("llama",)),
    ("promptpool.text.language", "language", ("the oven and the bread",)),
)
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
# The `python` that runs asks, as forked_jobs.py does. It imports little, because it starts once a job.
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
asked = {{"script": {become!r}, "arguments": [{become!r}, os.path.abspath(__file__), *arguments], "imports": [],
          "environ": dict(os.environ), "folder": os.getcwd(), "umask": mask}}
request = json.dumps(asked).encode()
fds = array.array("i", [0, 1, 2])
line.sendmsg([len(request).to_bytes(8, "little")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
line.sendall(request)
child = int.from_bytes(line.recv(8), "little")
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda number, frame: os.kill(child, number))
answer = line.recv(8)
code = int.from_bytes(answer, "little", signed=True) if len(answer) == 8 else 137
os._exit(code if code >= 0 else 128 - code)
"""


def warm(folder: Path, online: bool = False) -> str:
    """The path of a `python` in `folder` that asks one process for forks, which ends with this one.

    folder: its name must be short, because a socket's path has at most 107 characters. online: Snakemake itself may use
    the hub, so it gets a new interpreter, and only its jobs are forks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place, client = folder / "socket", folder / "python"
    found = {name: value for name, value in os.environ.items() if name.startswith(READ_AT_IMPORT)}
    known = {"python": sys.executable, "socket": str(place), "read": READ_AT_IMPORT, "found": found}
    known |= {"online": online, "become": __file__}
    client.write_text(CLIENT.format(**known), encoding="utf-8")
    client.chmod(0o755)
    environ = {**os.environ, **SET_BY_JOBS, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environ.pop("PYTHONPATH", None)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        listening.listen(16)
        command = [sys.executable, __file__, str(listening.fileno())]
        fds = [listening.fileno()]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, pass_fds=fds)
    atexit.register(server.stdin.close)
    if server.stdout.readline() != b"ready\n":
        raise RuntimeError("the process that tests fork from did not start")
    return str(client)


def serve(descriptor: int) -> None:
    """Imports the libraries and what jobs import, and then does what the process does that users' jobs are forks of."""
    for name in LIBRARIES:
        importlib.import_module(name)
    sys.path[0] = WORKFLOW
    imports_of = importlib.import_module("promptpool.runtime.forked_jobs").imports_of
    for script in sorted(Path(WORKFLOW, "scripts").glob("*.py")):
        for name in imports_of(str(script)):
            importlib.import_module(name)
    for module, function, given in KEPT:
        getattr(importlib.import_module(module), function)(*given)
    for name in SET_BY_JOBS:
        os.environ.pop(name, None)
    main = importlib.import_module("promptpool.runtime.fork_server").main
    gc.collect()
    gc.freeze()
    use_huge_pages()
    print("ready", flush=True)
    main(descriptor)


def use_huge_pages() -> None:
    """Gathers this process's memory into pages of 2 MB where Linux can: a fork copies one entry for each page.

    With 500 MB in pages of 4 kB, a fork and its end took 42 ms, and with these 15.
    """
    if sys.platform != "linux":
        return
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, access, _offset, _device, file, *name = line.split()
        if access.startswith("rw") and file == "0" and name in ([], ["[heap]"]):
            start, end = (int(address, 16) for address in span.split("-"))
            start, end = -(-start // HUGE) * HUGE, end // HUGE * HUGE
            if start < end:
                advise(start, end - start, MADV_COLLAPSE)


def become(client: str, arguments: list[str]) -> None:
    """In a fork: does what a new interpreter would do with a command line, with the package of its own path."""
    sys.executable = client  # Snakemake starts its scripts with it
    own = [str(Path(__file__).parent), WORKFLOW]
    paths = [path for path in sys.path if path not in own]
    sys.path[:] = [*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *paths]
    found = PathFinder.find_spec("promptpool")
    if "REACHED" in os.environ or found is None or found.origin != sys.modules["promptpool"].__file__:
        for name in [name for name in sys.modules if name.partition(".")[0] == "promptpool"]:
            del sys.modules[name]
    if "REACHED" in os.environ:  # a new interpreter imports it by itself (tests/reached)
        sys.modules.pop("sitecustomize", None)
        importlib.import_module("sitecustomize")
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return
    method = multiprocessing.context._default_context.get_context
    multiprocessing.get_context = lambda name=None: method("fork" if name == "forkserver" else name)
    sys.argv = arguments
    sys.path.insert(0, str(Path(arguments[0]).parent))
    runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1].isdigit():
        serve(int(sys.argv[1]))
    else:
        become(sys.argv[1], sys.argv[2:])
