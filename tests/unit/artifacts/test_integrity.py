"""Artifacts against their sidecars: what is damaged is named, and what is whole is not."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from promptpool.artifacts.files import (
    RUN,
    STAMP,
    VERIFIED,
    atomic_path,
    file_digest,
    pack_folder,
    remove,
    sidecar_path,
    state,
    write_sealed,
    write_sidecar,
)
from promptpool.artifacts.integrity import begin, fault_of, seal, sealed, unpack_sealed, verify
from promptpool.errors import PromptpoolError
from promptpool.runtime.job import as_line, job_of
from promptpool.runtime.rebuild import artifacts_of, damaged, mend
from promptpool.runtime.runs import begin_run

ROOT = Path(__file__).parents[3]


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "x.parquet"
    path.write_bytes(bytes(range(256)) * 40)
    write_sidecar(path)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "tuned"
    for name in ("step-1/weights", "step-2/weights", "log"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(name * 100)
    write_sidecar(path)
    return path


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def told(path: Path) -> str:
    with pytest.raises(PromptpoolError) as caught:
        verify([path])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_whole_passes(file, folder):
    verify([file, folder])


@pytest.mark.parametrize("place", [0, 5000, -1])
def test_a_flipped_bit_is_damage_and_the_line_says_what_to_remove(file, place):
    flip(file, place)
    assert told(file).startswith(f"{file}: damaged: its content is not what was written; remove {file} and run again")


@pytest.mark.parametrize("size", [0, 1, 10239])
def test_a_truncated_file_is_damage(file, size):
    os.truncate(file, size)
    assert told(file).startswith(f"{file}: damaged")


def test_damage_in_a_directory_names_the_file_in_it(folder):
    flip(folder / "step-2/weights", 3)
    assert told(folder).startswith(f"{folder}/step-2/weights: damaged")
    (folder / "log").unlink()
    assert told(folder).startswith(f"{folder}/log: missing, and {sidecar_path(folder)} names it; remove {folder}")


def test_what_snakemake_and_users_put_into_a_directory_is_no_damage(folder):
    digest = file_digest(folder)
    (folder / STAMP).touch()
    assert file_digest(folder) == digest
    (folder / "notes.txt").write_text("mine")
    verify([folder])


@pytest.mark.parametrize("place", [2, 40, 90, 150, 300, 500])
def test_a_damaged_sidecar_is_found_whatever_it_is_that_changed(file, place):
    flip(sidecar_path(file), place)
    assert str(file) in told(file)


@pytest.mark.parametrize("lost", ["seal", "digest"])
def test_a_sidecar_without_its_seal_or_digest_is_damaged(file, lost):
    content = json.loads(sidecar_path(file).read_text())
    del content[lost]
    sidecar_path(file).write_text(json.dumps(content))
    assert told(file).startswith(f"{sidecar_path(file)}: damaged, so {file} can't be verified")


def test_an_artifact_without_a_sidecar_is_taken_once_with_a_warning_and_verified_from_then_on(file, capsys):
    sidecar_path(file).unlink()
    verify([file])
    assert capsys.readouterr().err.startswith(f"Warning: {file}: has no sidecar")
    verify([file])
    assert capsys.readouterr().err == ""
    flip(file, 9)
    assert told(file).startswith(f"{file}: damaged")


def test_a_file_that_is_gone_or_cannot_be_read_is_one_line(tmp_path, file):
    assert told(tmp_path / "absent.parquet") == f"{tmp_path}/absent.parquet: no such file; run the same command again"
    content = file.read_bytes()
    file.unlink()
    file.mkdir()  # as root, permissions stop no one
    (file / "deep").write_bytes(content)
    assert str(file) in told(file)


def test_an_input_is_digested_once_and_its_consumers_sidecar_says_the_verified_digest(file, tmp_path, monkeypatch):
    verify([file])
    assert VERIFIED[state(file)] == file_digest(file)
    import promptpool.artifacts.files as artifacts

    read = []
    digest = artifacts.file_digest
    monkeypatch.setattr(artifacts, "file_digest", lambda path: read.append(str(path)) or digest(path))
    (tmp_path / "out").write_text("out")
    write_sidecar(tmp_path / "out", inputs=[file])
    assert read == [str(tmp_path / "out")]


def test_a_job_starts_without_old_sidecars_and_leftovers_of_killed_ones(file):
    with pytest.raises(KeyboardInterrupt), atomic_path(file) as temporary:
        raise KeyboardInterrupt
    temporary.write_bytes(b"half")
    other = file.with_name(".other.parquet.1.tmp.parquet")
    other.write_bytes(b"another job's")
    begin([file])
    assert not temporary.exists() and not sidecar_path(file).exists() and other.exists()


def test_every_output_is_sealed_and_a_stages_own_sidecar_is_kept(file, tmp_path):
    (tmp_path / "qc.json").write_text("{}")
    own = sidecar_path(file).read_text()
    seal([file, tmp_path / "qc.json"], [file], 0.0)
    assert sidecar_path(file).read_text() == own
    told = json.loads(sidecar_path(tmp_path / "qc.json").read_text())
    assert told["inputs"] == {str(file): file_digest(file)} and told["digest"] == file_digest(tmp_path / "qc.json")
    assert sealed(tmp_path / "qc.json") and not sealed(tmp_path / "absent")


def test_a_stages_own_facts_do_not_stand_in_the_digests_place(folder):
    write_sidecar(folder, digest="mine", contents=3)
    verify([folder])


def test_every_script_verifies_what_it_reads_and_seals_what_it_writes():
    for script in (ROOT / "workflow/scripts").glob("*.py"):
        text = script.read_text()
        assert "with job_of(snakemake" in text or "verify(snakemake.input)" in text, script.name


def rule(folder: Path, inputs: list[str], outputs: list[str]) -> SimpleNamespace:
    """What a script sees of its rule."""
    known = {"log": [f"{folder}/logs/rule.log"], "threads": 1, "resources": {}, "config": {}}
    return SimpleNamespace(**known, input=inputs, output=outputs)


def test_a_rules_job_verifies_and_seals_its_runs_files_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("results/mine").mkdir(parents=True)
    Path("own.csv").write_text("a user's own")
    Path("results/mine/read.json").write_text("{}")
    write_sidecar("results/mine/read.json")
    outputs = ["results/mine/made.json", "results/mine/other.json.meta.json"]
    with job_of(rule(Path("results/mine"), ["own.csv", "results/mine/read.json"], outputs)):
        for path in outputs:
            Path(path).write_text("{}")
    sidecars = sorted(str(path) for path in tmp_path.rglob("*.meta.json"))
    named = ("made.json.meta.json", "other.json.meta.json", "read.json.meta.json")
    assert sidecars == [str(tmp_path / "results/mine" / name) for name in named]


def test_a_job_of_an_earlier_run_does_not_write_over_a_later_ones(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(RUN, "of the shell")
    made = Path("results/mine/made.json")
    job = rule(Path("results/mine"), [], [str(made)])

    def run(content: str) -> None:
        with job_of(job):
            made.write_text(content)

    begin_run()
    left = os.environ[RUN]
    run("1")
    begin_run()
    run("2")  # a later run may, and so may the same one again
    run("3")
    later = os.environ[RUN]
    monkeypatch.setenv(RUN, left)
    with pytest.raises(SystemExit):
        run("4")
    told = capfd.readouterr().err
    assert f"Error: {made}: a run that began later ({later}) has made it; this job is left over" in told
    assert made.read_text() == "3" and fault_of(made) is None
    monkeypatch.delenv(RUN)  # by hand
    run("5")
    made.unlink()
    monkeypatch.setenv(RUN, left)
    run("6")
    assert made.read_text() == "6"


def test_an_archive_gives_what_was_packed_or_is_named(folder):
    archive = folder.with_suffix(".tar")
    write_sidecar(folder)
    pack_folder(folder, archive)
    unpack_sealed(archive, folder)
    assert fault_of(folder) is None
    whole = archive.read_bytes()
    for broken in (whole[:700], b"", whole.replace(b"loglog", b"lugloh", 1), whole[:100]):
        assert broken != whole
        remove(folder)
        archive.write_bytes(broken)
        with pytest.raises(PromptpoolError, match=r"\.tar: damaged: .*; remove .*\.tar and run again"):
            unpack_sealed(archive, folder)
        assert not folder.exists()
    archive.write_bytes(whole)
    half_written = folder.with_name(f".{folder.name}.123.tmp")  # a killed job's
    half_written.mkdir()
    unpack_sealed(archive, folder)
    assert folder.exists() and not half_written.exists()
    archive.unlink()
    with pytest.raises(FileNotFoundError) as caught:
        unpack_sealed(archive, folder)
    assert caught.value.filename == str(archive) and folder.exists()


def without(path: Path) -> None:
    path.unlink()


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def nothing(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("lost", [without, a_directory, a_loop, half, nothing])
@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors"])
def test_a_rules_job_does_not_start_without_a_users_file(name, lost, tmp_path, monkeypatch, capfd):
    from safetensors.numpy import save_file

    monkeypatch.chdir(tmp_path)
    Path("tokenizer.json").write_text('{"model": {"vocab": {"a": 0}}}')
    save_file({"weight": np.ones((3, 4)), "bias": np.zeros(2)}, "model.safetensors", {"format": "pt"})
    with job_of(rule(Path("results/mine"), [name], [])):
        pass
    lost(Path(name))
    with pytest.raises(SystemExit), job_of(rule(Path("results/mine"), [name], [])):
        raise AssertionError("the job ran")
    told = capfd.readouterr().err
    assert re.search(rf"^Error: {re.escape(name)}: ", told, re.MULTILINE) and "Traceback" not in told


def test_a_rules_job_does_not_start_over_a_damaged_file(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Path("results/mine").mkdir(parents=True)
    Path("results/mine/read.json").write_text("{}")
    write_sidecar("results/mine/read.json")
    Path("results/mine/read.json").write_text("{]")
    with pytest.raises(SystemExit), job_of(rule(Path("results/mine"), ["results/mine/read.json"], [])):
        raise AssertionError("the job ran")
    assert "results/mine/read.json: damaged" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PromptpoolError("two\nlines"), "two lines"),
        (MemoryError("no more"), "x.parquet: out of memory; free some, or give the job more (no more)"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "x.parquet: out of memory; free some"),
        (SystemError("error return without exception set"), "x.parquet: out of memory; free some"),
        (
            SystemError("<built-in method x> returned NULL without setting an exception"),
            "x.parquet: out of memory; free some",
        ),
        (ImportError("_path.so: failed to map segment from shared object"), "x.parquet: out of memory; free some"),
        (PermissionError(13, "Permission denied", "in.csv"), "in.csv: Permission denied; fix that and run again"),
        (OSError(28, "No space left on device"), "x.parquet: not made: [Errno 28] No space left on device; fix that"),
        (ValueError("I/O error: Input/output error (os error 5)"), "x.parquet: not made: I/O error: Input/output"),
    ],
)  # fmt: skip
def test_what_the_machine_refuses_is_one_line(error, line):
    assert as_line(error, ["x.parquet"]).startswith(line)


def test_a_fault_of_our_own_keeps_its_traceback():
    assert as_line(ValueError("3 vectors for 4 texts"), ["x.parquet"]) is None


def test_a_disk_that_takes_no_more_names_the_file(tmp_path):
    line = r"x\.parquet: cannot be written: No space left on device; fix that"
    with pytest.raises(PromptpoolError, match=line), atomic_path(tmp_path / "x.parquet"):
        raise OSError(28, "No space left on device")
    with pytest.raises(PermissionError), atomic_path(tmp_path / "x.parquet"):
        raise PermissionError(13, "Permission denied", "/elsewhere/in.csv")
    assert list(tmp_path.iterdir()) == []


MAKES = """
import sys, pathlib
from promptpool.artifacts.files import write_sidecar
pathlib.Path("made").open("a").write(" ".join(sys.argv[2:]) + chr(10))
texts = {"a": "first", "b": "second", "c": "third" + sys.argv[1]}
for name in sys.argv[3:]:
    pathlib.Path("r", name[2:]).write_text(texts[name[2:]])
    given = {"a": [], "b": ["r/a"], "c": ["r/b"]}[name[2:]]
    write_sidecar(name, inputs=given)
"""


@pytest.mark.parametrize(
    ("lost", "change", "made"),
    [("b", "", ["-- r/b"]), ("a", "", ["-- r/a"]), ("c", "", ["-- r/c"]), ("b", "!", ["-- r/b", "-- r/c"])],
)
def test_mending_makes_anew_what_is_damaged_and_what_differs_for_it(tmp_path, monkeypatch, lost, change, made):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "workflow"))
    Path("r").mkdir()
    texts = {"a": "first", "b": "second", "c": "third"}
    for number, (name, given) in enumerate({"a": [], "b": ["r/a"], "c": ["r/b"]}.items()):
        Path("r", name).write_text(texts[name] + ("old" if change and name == "b" else ""))
        write_sidecar(f"r/{name}", inputs=given)
        for path in (f"r/{name}", f"r/{name}.meta.json"):
            os.utime(path, ns=(10**9 * number, 10**9 * number))
    flip(Path("r", lost), 0)
    assert [path.name for path, _ in damaged("r")] == [lost]
    assert mend("r", [sys.executable, "-c", MAKES, ""]) == 0
    assert Path("made").read_text().splitlines() == made
    assert list(damaged("r")) == [] and len(artifacts_of("r")) == 3
    times = {name: os.stat(f"r/{name}").st_mtime_ns for name in texts}
    if not change:
        assert times == {name: 10**9 * number for number, name in enumerate(texts)}


def test_looking_at_a_run_lists_what_is_damaged(file, tmp_path):
    command = [sys.executable, "-m", "promptpool.runtime.rebuild", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow")}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0 and answer.stdout == "1 artifacts verified, 0 damaged\n"
    flip(file, 7)
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 1 and answer.stdout.splitlines()[0].startswith(f"{file}: damaged")


def test_a_seal_survives_keys_and_values_that_json_changes(tmp_path):
    write_sealed(tmp_path / "x.meta.json", {"digest": "0", 10: 1, 9: float("nan"), "path": tmp_path})
    from promptpool.artifacts.integrity import read_sealed

    assert read_sealed(tmp_path / "x.meta.json")["9"] is not None
    assert fault_of(tmp_path / "x").endswith("no such file; run the same command again")


def in_a_job(folder: Path, line: str) -> tuple[int, str]:
    """A process's exit status and its log, which runs one line as a rule's script does."""
    code = f"from promptpool.runtime.job import job\nwith job('job.log'):\n    {line}\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow")}
    environment.pop("MTEB_CACHE", None)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, check=False)
    return done.returncode, (folder / "job.log").read_text()


def test_a_fault_of_our_own_is_in_the_log_that_snakemake_names(tmp_path):
    status, log = in_a_job(tmp_path, "{}['tests']")
    assert status == 1 and "Traceback (most recent call last)" in log and "KeyError: 'tests'" in log


@pytest.mark.parametrize("module", ["scoring.mteb_results", "scoring.replicates", "tasks.catalogue"])
def test_mteb_makes_no_folder_at_home_outside_of_a_job_either(tmp_path, module):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow"), "HOME": str(tmp_path / "home")}
    environment.pop("MTEB_CACHE", None)
    code = f"import promptpool.{module}, mteb"
    (tmp_path / "home").write_text("a file: nothing can be made below it")
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_mteb_makes_no_folder_in_the_home_directory(tmp_path):
    status, log = in_a_job(tmp_path, "import os; print(os.environ['MTEB_CACHE'])")
    assert status == 0 and log.strip().startswith(tempfile.gettempdir())


def test_an_import_in_a_job_is_not_searched_for_cycles_again_and_again_and_cycles_go(tmp_path):
    searches = "sum(generation['collections'] for generation in gc.get_stats())"
    cycles = "[weakref.ref(one) for one in map(Cycle, range(50_000))]"
    cycle = "class Cycle:\n        __init__ = lambda self, _: setattr(self, 'own', self)"
    counts = f"{cycle}\n    gone = {cycles}\n    print(sum(one() is None for one in gone) > 30_000)"
    stay = f"before = {searches}; kept = [[] for _ in range(300_000)]; print({searches} - before)\n    {counts}"
    status, log = in_a_job(tmp_path, f"import gc, weakref; {stay}")
    made, freed = log.split()
    assert status == 0 and int(made) <= 40 and freed == "True"  # 430 times, as Python would


@pytest.mark.parametrize("own", [None, "5"])
def test_a_tracking_server_that_is_down_delays_a_training_by_half_a_minute_unless_told_otherwise(
    tmp_path, monkeypatch, own
):
    monkeypatch.delenv("WANDB_INIT_TIMEOUT", raising=False)
    if own:
        monkeypatch.setenv("WANDB_INIT_TIMEOUT", own)
    assert in_a_job(tmp_path, "import os; print(os.environ['WANDB_INIT_TIMEOUT'])") == (0, f"{own or 30}\n")
