"""The python that tests of the workflow fork from does what a new one does, and is a new one where it must be."""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from warm_python import warm

SAID = """
import os, sys
sys.path.insert(0, "")
print(os.getcwd(), os.environ.get("COLOUR"), sys.argv, oct(os.umask(0)), "torch" in sys.modules)
print("fault", file=sys.stderr)
{end}
"""


@pytest.fixture(scope="module")
def python() -> str:
    with tempfile.TemporaryDirectory(prefix="warm") as folder:
        yield warm(Path(folder))


def ran(python: str, folder: Path, end: str = "", **environ: str) -> subprocess.CompletedProcess:
    script = folder / "script.py"
    script.write_text(SAID.format(end=end))
    before = os.umask(0o027)
    try:
        return subprocess.run(
            [python, str(script), "a b"], cwd=folder, env={**os.environ, **environ}, capture_output=True, text=True
        )
    finally:
        os.umask(before)


def test_a_fork_has_the_directory_environment_arguments_and_umask_and_the_libraries(python, tmp_path):
    answer = ran(python, tmp_path, COLOUR="blue")
    told = [str(tmp_path), "blue", str([str(tmp_path / "script.py"), "a b"]), oct(0o027), "True"]
    assert (answer.stdout, answer.stderr, answer.returncode) == (" ".join(told) + "\n", "fault\n", 0)


@pytest.mark.parametrize("name", ["HOME", "HF_HOME", "PLAIN_PYTHON", "LC_ALL", "http_proxy"])
def test_another_environment_starts_a_new_python(python, tmp_path, name):
    answer = ran(python, tmp_path, **{name: str(tmp_path / "other")})
    assert answer.returncode == 0 and answer.stdout.endswith(" False\n")


def test_a_job_that_may_use_the_hub_starts_a_new_python(python, tmp_path):
    assert ran(python, tmp_path, "dict(online=True)").stdout.endswith(" False\n")


@pytest.mark.parametrize("online", [False, True])
def test_snakemake_starts_its_jobs_with_the_python_that_forks_also_where_it_is_new(python, tmp_path, online):
    """With its modules: a fork has torch."""
    told = "import sys\nprint(sys.executable, 'torch' in sys.modules, file=sys.stderr)\nrule one:\n    shell: 'true'\n"
    (tmp_path / "Snakefile").write_text(told)
    client = tmp_path / "python"
    client.write_text(Path(python).read_text().replace(f", {False}\n", f", {online}\n"))  # what `warm` writes for it
    client.chmod(0o755)
    command = [client, "-m", "snakemake", "--cores", "1", "--dry-run"]
    answer = subprocess.run(command, cwd=tmp_path, env={**os.environ}, capture_output=True, text=True)
    assert answer.returncode == 0 and f"{client} {not online}\n" in answer.stderr, answer.stderr


@pytest.mark.parametrize(
    ("end", "code"),
    [("sys.exit(3)", 3), ("sys.exit('no')", 1), ("raise ValueError", 1), ("os.kill(os.getpid(), 9)", 137)],
)
def test_how_it_ends_is_seen(python, tmp_path, end, code):
    assert ran(python, tmp_path, end).returncode == code


def test_the_package_is_that_of_the_path(python, tmp_path):
    (tmp_path / "other/promptpool").mkdir(parents=True)
    (tmp_path / "other/promptpool/__init__.py").write_text("MARK = 1\n")
    answer = ran(python, tmp_path, "import promptpool; print(promptpool.MARK)", PYTHONPATH=str(tmp_path / "other"))
    assert answer.stdout.endswith("\n1\n"), answer.stderr


@pytest.mark.parametrize("other", [False, True])
def test_a_fork_has_this_checkouts_package_already_and_nothing_of_it_where_the_path_has_another(
    python, tmp_path, other
):
    path = Path(__file__).parents[2] / "workflow"
    if other:
        (tmp_path / "other/promptpool").mkdir(parents=True)
        (tmp_path / "other/promptpool/__init__.py").touch()
        path = tmp_path / "other"
    end = "print('promptpool.embedding.embedder' in sys.modules)"
    assert ran(python, tmp_path, end, PYTHONPATH=str(path)).stdout.endswith(f"\n{not other}\n")


def test_what_a_fork_enters_is_noted_as_a_new_python_notes_it(python, tmp_path):
    table, reached = tmp_path / "reached.tsv", Path(__file__).parents[1] / "reached"
    paths = os.pathsep.join([str(reached), str(Path(__file__).parents[2] / "workflow")])
    noted = []
    for plain in ({}, {"PLAIN_PYTHON": "1"}):
        end = "from promptpool.text.normalisation import normalise; normalise('a')"
        answer = ran(python, tmp_path, end, REACHED=str(table), PYTHONPATH=paths, **plain)
        assert answer.stdout.endswith(f" {not plain}\n"), answer.stderr
        noted.append(table.read_text())
        table.unlink()
    assert noted[0] == noted[1] and "text.normalisation\tnormalise\n" in noted[0]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_client_takes_its_fork_with_it(python, tmp_path, how):
    script = tmp_path / "script.py"
    script.write_text("import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(60)\n")
    client = subprocess.Popen([python, str(script)], cwd=tmp_path)
    until = time.monotonic() + 30
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    fork = int((tmp_path / "pid").read_text())
    client.send_signal(how)
    client.wait(30)
    while True:
        try:
            os.kill(fork, 0)
        except ProcessLookupError:
            break
        assert time.monotonic() < until, "the fork still runs"
        time.sleep(0.05)
