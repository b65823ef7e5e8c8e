"""A job that is a fork does what a new interpreter does, and is none where it can't be."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from code_edits import stages
from promptpool.runtime import forked_jobs
from promptpool.runtime.code_digest import computations
from promptpool.runtime.forked_jobs import LATE_IMPORTS, PLACE, end_forks, hand_over, imports_of, offer_forks

WORKFLOW = Path(forked_jobs.__file__).parents[2]
JOB = """
import sys
from promptpool.runtime.forked_jobs import hand_over, is_fork
hand_over(sys.argv[0])
import os
{body}
"""
OF_LIBRARIES = {"torch", "peft"}  # MTEB imports the one when it scores, models/backbone.py the other for an adapter
SAID = """
from wave import Wave_read
import json
mask = os.umask(0)
print(json.dumps([is_fork(), os.getcwd(), os.environ.get("COLOUR"), sys.argv, mask, sys.path[0], __name__]))
print("fault", file=sys.stderr)
"""


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path) -> Iterator[str]:
    """Where a job asks for a fork."""
    monkeypatch.delenv(PLACE, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(WORKFLOW))
    # Under nohup the one is ignored, in a script's background the other, here and in all that is started.
    ways = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, way) for number, way in ways.items()}
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # a socket's path has at most 107 characters
        monkeypatch.setattr(tempfile, "tempdir", short)
        offer_forks(0, [])
        yield os.environ[PLACE]
        end_forks()
        for number, way in before.items():
            signal.signal(number, way)
        assert list(Path(short).glob("promptpool-*")) == []


def server() -> subprocess.Popen:
    return forked_jobs._STARTED[0][0]


def script(folder: Path, body: str) -> Path:
    path = folder / "job.py"
    path.write_text(JOB.format(body=body), encoding="utf-8")
    return path


def ran(folder: Path, body: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(script(folder, body)), *arguments]
    environ = {**os.environ, **environ}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False)


def begun(folder: Path, body: str) -> tuple[subprocess.Popen, int]:
    """A job that has begun, and the number of the process that does its work."""
    started = folder / "started"
    note = f'import time; open("{started}.part", "w").write(str(os.getpid())); os.rename("{started}.part", "{started}")'
    job = subprocess.Popen([sys.executable, str(script(folder, f"{note}\n{body}"))], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not started.exists():
        assert time.monotonic() < until and job.poll() is None
        time.sleep(0.01)
    return job, int(started.read_text())


def lives(process: int) -> bool:
    """Whether a process runs: one that has ended may wait for its parent."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    return False


def ends(process: int) -> None:
    until = time.monotonic() + 60
    while lives(process):
        assert time.monotonic() < until, process
        time.sleep(0.01)


def test_a_fork_has_the_directory_environment_arguments_umask_and_streams_of_its_job(tmp_path):
    before = os.umask(0o027)
    try:
        answer = ran(tmp_path, SAID, "a b", COLOUR="blue")
    finally:
        os.umask(before)
    path = str(tmp_path / "job.py")
    assert json.loads(answer.stdout) == [True, str(tmp_path), "blue", [path, "a b"], 0o027, str(tmp_path), "__main__"]
    assert (answer.stderr, answer.returncode) == ("fault\n", 0)


def test_what_a_script_imports_is_there_for_the_next_and_nothing_of_what_it_does(tmp_path):
    body = 'print("wave" in sys.modules, "COUNT" in os.environ)\nfrom wave import Wave_read\nos.environ["COUNT"] = "1"'
    assert [ran(tmp_path, body).stdout for _ in range(2)] == ["True False\n"] * 2
    assert ran(tmp_path, 'print("wave" in sys.modules, "plistlib" in sys.modules)').stdout == "True False\n"


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        ("sys.exit(3)", 3, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit('no such text')", 1, "no such text\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("os.kill(os.getpid(), 9)", -9, ""),
        ("os.kill(os.getpid(), 15)", -15, ""),
        ("raise KeyboardInterrupt", -2, "KeyboardInterrupt\n"),
        ("os._exit(7)", 7, ""),
    ],
)
@pytest.mark.parametrize("forks", [True, False])
def test_a_job_ends_as_its_fork_ended_and_as_it_would_without(tmp_path, end, status, said, forks):
    answer = ran(tmp_path, f"assert is_fork() is {forks}\n{end}", **({} if forks else {PLACE: "0"}))
    assert answer.returncode == status and answer.stderr.endswith(said)


def test_a_fork_waits_for_its_threads_and_does_what_is_to_be_done_at_its_end(tmp_path):
    answer = ran(
        tmp_path,
        "import atexit, threading, time\natexit.register(print, 'last')\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\nprint('script')",
    )
    assert answer.stdout == "script\nthread\nlast\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_job_reaches_its_fork(tmp_path, number):
    job, fork = begun(tmp_path, "time.sleep(60)")
    assert fork != job.pid
    job.send_signal(number)
    assert job.wait(60) == -number and not lives(fork)


def test_what_a_job_ignores_its_fork_ignores(tmp_path):
    end_forks()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    offer_forks(0, [])
    job, fork = begun(tmp_path, "time.sleep(0.5)")
    job.send_signal(signal.SIGHUP)
    os.kill(fork, signal.SIGHUP)
    assert job.wait(60) == 0


def test_a_job_that_is_killed_takes_its_fork_with_it_and_others_go_on(tmp_path):
    (tmp_path / "other").mkdir()
    job, fork = begun(tmp_path, "time.sleep(60)")
    other, second = begun(tmp_path / "other", "time.sleep(1)")
    job.kill()
    ends(fork)
    until = time.monotonic() + 60
    while Path(f"/proc/{fork}").exists():  # nor is it left for nobody to wait for
        assert time.monotonic() < until
        time.sleep(0.01)
    assert lives(second) and other.wait(60) == 0


def test_a_job_whose_server_is_killed_says_so_and_later_ones_run_by_themselves(tmp_path):
    job, fork = begun(tmp_path, "time.sleep(60)")
    server().kill()
    assert job.wait(60) == 1 and "out of memory" in job.stderr.read()
    ends(fork)
    answer = ran(tmp_path, "print(is_fork())")
    assert (answer.stdout, answer.returncode) == ("False\n", 0)


def test_a_module_that_can_not_be_imported_is_the_jobs_own_error_and_ends_forks(tmp_path):
    (tmp_path / "broken.py").write_text("raise OSError(12, 'no memory')")
    answer = ran(tmp_path, "print(is_fork())\nfrom broken import thing", PYTHONPATH=f"{WORKFLOW}:{tmp_path}")
    assert answer.stdout == "False\n" and answer.stderr.endswith("OSError: [Errno 12] no memory\n")
    assert server().wait(60) == 0
    assert ran(tmp_path, "print(is_fork())").stdout == "False\n"


@pytest.mark.parametrize("stage", sorted(LATE_IMPORTS))
def test_late_imports_are_of_stages_and_are_there(stage):
    """What a stage no longer reaches would be imported for nothing."""
    named = imports_of(str(WORKFLOW / f"scripts/{stage}.py"))
    assert "promptpool.runtime.job" in named and all(find_spec(name) for name in named)
    reached = {name for script, *more in stages().values() if script == stage for name in computations(stage, *more)}
    for name in LATE_IMPORTS[stage]:
        module = name.removeprefix("promptpool.")
        assert module in OF_LIBRARIES if module == name else module in {place for place, _ in reached}, name


def test_snakemakes_copy_of_a_script_has_its_stages_late_imports(tmp_path):
    copy = tmp_path / "tmp1234.embed_checkpoint.py"
    copy.write_text("import os\nfrom pathlib import Path\nif os:\n    from promptpool.models import checkpoint\n")
    assert imports_of(str(copy)) == ["pathlib", "promptpool.models", "peft"]


def test_a_script_that_python_can_not_read_is_not_handed_over(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("from promptpool.runtime.forked_jobs import hand_over\nhand_over('other.py')\nprint('by itself')")
    (tmp_path / "other.py").write_text("def")
    answer = subprocess.run([sys.executable, str(bad)], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert answer.stdout == "by itself\n"


def test_without_memory_for_a_fork_the_job_runs_by_itself_and_the_server_goes_on(tmp_path):
    no_fork = tmp_path / "sitecustomize.py"
    no_fork.write_text(
        "import os\nfork = os.fork\ndef refused():\n    os.fork = fork\n    raise OSError(11, 'again')\n"
        "os.fork = refused\n"
    )
    end_forks()
    os.environ["PYTHONPATH"] = f"{tmp_path}:{WORKFLOW}"
    offer_forks(0, [])
    os.environ["PYTHONPATH"] = str(WORKFLOW)
    assert [ran(tmp_path, "print(is_fork())").stdout for _ in range(2)] == ["False\n", "True\n"]


def test_many_jobs_at_once(tmp_path):
    path = script(tmp_path, "import time\ntime.sleep(0.1)\nprint(is_fork(), sys.argv[1])\nsys.exit(int(sys.argv[1]))")
    jobs = [
        subprocess.Popen([sys.executable, str(path), str(number)], stdout=subprocess.PIPE, text=True)
        for number in range(12)
    ]
    answers = [(job.communicate(timeout=60)[0], job.returncode) for job in jobs]
    assert answers == [(f"True {number}\n", number) for number in range(12)]


def test_when_snakemake_is_killed_its_jobs_end_their_work_and_the_server_ends_after_them(tmp_path):
    note = tmp_path / "ended"
    body = f"import time\nopen('{note}.begun', 'w')\ntime.sleep(1)\nopen('{note}', 'w').write(str(is_fork()))"
    path = script(tmp_path, body)
    run = (
        "import os, subprocess, sys, time\nfrom promptpool.runtime import forked_jobs\n"
        f"forked_jobs.offer_forks(0, [])\nsubprocess.Popen([sys.executable, '{path}'], stdout=2)\n"
        f"while not os.path.exists('{note}.begun'):\n    time.sleep(0.01)\n"
        "print(forked_jobs._STARTED[0][0].pid, os.environ[forked_jobs.PLACE], flush=True)\nos.kill(os.getpid(), 9)"
    )
    end_forks()
    answer = subprocess.run([sys.executable, "-c", run], stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    process, place = answer.stdout.split()
    assert answer.returncode == -9 and not note.exists()
    ends(int(process))
    assert note.read_text() == "True" and not Path(place).parent.exists()


@pytest.mark.parametrize("value", [None, "", "0"])
def test_a_job_that_nobody_offers_forks_leaves_its_environment(monkeypatch, value):
    monkeypatch.delenv(PLACE, raising=False)
    if value is not None:
        monkeypatch.setenv(PLACE, value)
    hand_over(__file__)
    assert os.environ.get(PLACE) == value


@pytest.mark.parametrize("other", ["gpu", "gpu of AMD", "conda", "darwin", "switched off", "long path", "no folder"])
def test_where_a_process_must_not_be_forked_none_is_offered(tmp_path, monkeypatch, other):
    end_forks()
    if other == "long path":
        (tmp_path / ("long" * 30)).mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("long" * 30)))
    if other == "no folder":
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    if other == "gpu of AMD":
        monkeypatch.setattr(forked_jobs, "AMD_GPUS", tmp_path)
    if other == "switched off":
        monkeypatch.setenv(PLACE, "0")
    before = os.environ.get(PLACE)
    offer_forks(int(other == "gpu"), ["conda"] * (other == "conda"), "darwin" if other == "darwin" else "linux")
    assert os.environ.get(PLACE) == before and forked_jobs._STARTED == []
    assert not any((tmp_path / ("long" * 30)).glob("*"))
    assert ran(tmp_path, "print(is_fork())").stdout == "False\n"


THREADS = """
threads = {threads}
from promptpool.runtime.job import job
with job("log", threads=threads):
    import numpy
    from scipy.linalg import cho_factor
    from threadpoolctl import threadpool_info
    from torch import get_num_threads, ones
    ones(500, 500) @ ones(500, 500)
    pools = sorted({(pool["user_api"], pool["num_threads"]) for pool in threadpool_info()})
print(is_fork(), pools, get_num_threads(), os.environ["OMP_NUM_THREADS"], os.environ["HF_HUB_OFFLINE"])
"""


@pytest.mark.parametrize("threads", [1, 2, 99])
def test_a_fork_has_the_threads_of_its_job(tmp_path, threads):
    """Its libraries were imported with one, and would not read the environment again."""
    body = THREADS.replace("{threads}", str(threads))
    fork, new = ran(tmp_path, body), ran(tmp_path, body, **{PLACE: "0"})
    assert fork.stdout.startswith("True ") and new.stdout.startswith("False "), fork.stderr + new.stderr
    assert fork.stdout.split(" ", 1)[1] == new.stdout.split(" ", 1)[1]
    assert f"{min(threads, len(os.sched_getaffinity(0)))} {threads} 1" in fork.stdout
