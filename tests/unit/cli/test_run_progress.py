"""What `promptpool run` shows of snakemake's lines: progress, the failing job's line and log; and what ends it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from promptpool.artifacts.files import write_sidecar
from promptpool.cli import run_study
from promptpool.cli.command import main
from promptpool.cli.progress import RunProgress, duration
from promptpool.cli.snakemake_command import as_typed, snakemake_command, study_file
from promptpool.errors import PromptpoolError
from promptpool.runtime.installation import workflow_folder

LINES = """\
Job stats:
job              count
-------------  -------
build_corpus         1
make_pairs           2
train_adapter        1
total                4

localrule build_corpus:
    log: results/t/logs/build_corpus/lines.log
    jobid: 2
    wildcards: name=lines
Finished jobid: 2 (Rule: build_corpus)
1 of 4 steps (25%) done
localrule train_adapter:
    jobid: 7
    wildcards: name=tuned
localrule make_pairs:
    jobid: 1
    wildcards: name=halves
Finished jobid: 1 (Rule: make_pairs)
2 of 4 steps (50%) done
localrule make_pairs:
    jobid: 3
Finished jobid: 3 (Rule: make_pairs)
3 of 4 steps (75%) done
""".splitlines()
FAILURE = """\
Error: corpora.lines: corpus.csv: no column 'nope'; it has 'text'
RuleException:
CalledProcessError in file "corpus.smk", line 23:
Error in rule build_corpus:
    message: None
    jobid: 2
    log: results/t/logs/build_corpus/lines.log (check log file(s) for error details)
WorkflowError:
At least one job did not complete successfully.
""".splitlines()


def fed(lines: list[str]) -> tuple[RunProgress, list[str]]:
    shown: list[str] = []
    seconds = iter(range(0, 10_000, 10))
    progress = RunProgress(shown.append, clock=lambda: next(seconds))
    for line in lines:
        progress.line(line + "\n")
    return progress, shown


def test_jobs_done_what_runs_and_the_time_left_are_shown():
    progress, shown = fed(LINES)
    assert (progress.done, progress.total) == (3, 4) and progress.running == {"7": "train_adapter tuned"}
    assert shown[1] == "2 of 4 jobs done; now: train_adapter tuned"
    assert shown[2].startswith("3 of 4 jobs done, about ") and "left; now: train_adapter tuned" in shown[2]
    assert [duration(one) for one in (3, 47, 200, 9000)] == ["10 s", "50 s", "3 min", "2.5 h"]


def test_a_failing_jobs_line_and_log_are_kept(capsys):
    progress, shown = fed([*LINES, *FAILURE])
    assert progress.logs == ["results/t/logs/build_corpus/lines.log"]
    assert [line for line in shown if line.startswith("Error")] == [FAILURE[0]]
    run_study.explain(progress, stopped=False)
    said = capsys.readouterr().err
    assert "Log: results/t/logs/build_corpus/lines.log" in said


def test_a_bad_study_is_the_line_that_snakemake_gives(capsys):
    progress, _ = fed(['WorkflowError in file "Snakefile", line 31:', "study.yaml: run: missing; name it"])
    run_study.explain(progress, stopped=False)
    assert "study.yaml: run: missing; name it" in capsys.readouterr().err


def test_a_lock_is_explained(capsys):
    progress, _ = fed(["LockException:", "Error: Directory cannot be locked. Please make sure"])
    run_study.explain(progress, stopped=False)
    assert "promptpool run -- --unlock" in capsys.readouterr().err


@pytest.mark.parametrize(("code", "expected"), [("sys.exit(0)", 0), ("sys.exit(7)", 7)])
def test_the_exit_code_is_passed_on(code, expected):
    assert run_study.follow([sys.executable, "-c", f"import sys; {code}"], quiet=True) == expected


ASLEEP = "import os, signal, sys, time\ntry:\n    print('x of', file=sys.stderr, flush=True)\n    time.sleep(60)\n"
ASLEEP += "except KeyboardInterrupt:\n    sys.exit(3)\n"
OUTER = f"""
import sys
from promptpool.cli.run_study import follow
print("ready", flush=True)
sys.exit(follow([sys.executable, "-c", {ASLEEP!r}]))
"""


def in_the_background() -> None:
    """As a shell starts `nohup promptpool run &`: interrupts and hangups are ignored."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def in_front() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("number", "start"),
    [(signal.SIGINT, in_front), (signal.SIGTERM, in_front), (signal.SIGHUP, in_front),
     (signal.SIGTERM, in_the_background)],
)  # fmt: skip
def test_a_signal_is_passed_on_and_waited_for(number, start):
    paths = os.pathsep.join([str(workflow_folder()), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", OUTER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": paths}, preexec_fn=start,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    process.stderr.readline()  # what is run
    while not (children := Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()):
        pass
    while b"time.sleep" not in Path(f"/proc/{children[0]}/cmdline").read_bytes():
        pass
    import time

    time.sleep(1)  # the child's own `try`
    if start is in_the_background:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3 and "Stopped. The same command goes on from here." in said


@pytest.fixture
def study(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text("run: t\n")
    (tmp_path / "results/t").mkdir(parents=True)
    return tmp_path


def test_the_command_can_be_typed_without_this_one(study):
    command = snakemake_command(study_file("study.yaml"), "--cores", "all", targets=["scores"])
    typed = as_typed(command)
    assert typed.startswith("snakemake --snakefile ") and typed.endswith(
        "--configfile study.yaml --cores all -- scores"
    )
    assert Path(command[command.index("--snakefile") + 1]).is_file()


@pytest.mark.parametrize(
    ("text", "says"), [(None, "no such file"), ("a: [", "not valid YAML"), ("a: 1", "names no run")]
)
def test_a_study_that_cannot_be_read_is_one_line(study, text, says):
    (study / "study.yaml").unlink()
    if text:
        (study / "study.yaml").write_text(text)
    with pytest.raises(PromptpoolError, match=says) as caught:
        study_file("study.yaml")
    assert "\n" not in str(caught.value)


def judged(verdict: str) -> None:
    Path("results/t/verdict.json").write_text(json.dumps({"verdict": verdict}))
    Path("results/t/verdict.txt").write_text(f"{verdict}: with numbers\n")


@pytest.mark.parametrize(
    ("verdict", "code"), [("better", 0), ("no clear difference", 0), ("worse", 1), ("not known", 2), (None, 2)]
)
def test_check_fails_if_tuning_made_the_model_worse(study, capsys, verdict, code):
    if verdict:
        judged(verdict)
    assert main(["check"]) == code
    said = capsys.readouterr()
    assert ("Do not use the tuned model" in said.out) == (verdict == "worse")
    assert (verdict or "verdict.json: no such file") in said.out + said.err


def test_verify_and_check_find_a_damaged_file(study, capsys):
    judged("better")
    path = Path("results/t/a.txt")
    path.write_text("content")
    write_sidecar(path)
    assert main(["verify"]) == 0 and main(["check"]) == 0
    path.write_text("changed")
    assert main(["verify"]) == 1 and "1 damaged" in capsys.readouterr().out
    assert main(["check"]) == 1


def test_a_run_ends_with_the_verdict_and_where_to_look(study):
    judged("better")
    Path("results/t/models/m").mkdir(parents=True)
    Path("results/t/models/.a.123.tmp").mkdir()  # of an export that was killed
    Path("results/t/report.html").write_text("")
    lines = list(run_study.closing_lines(study_file("study.yaml")))
    assert lines[0] == "better: with numbers" and "results/t/models/m" in lines[1] and "report.html" in lines[2]
    # A run of another target has not looked whether the verdict is still that of this study.
    assert list(run_study.closing_lines(study_file("study.yaml"), ["scores"])) == []
    assert list(run_study.closing_lines(study_file("study.yaml"), ["verdict"])) == ["better: with numbers"]


def test_report_prints_the_path_where_there_is_no_browser(study, capsys, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert main(["report"]) == 2
    Path("results/t/report.html").write_text("")
    assert main(["report"]) == 0 and capsys.readouterr().out.strip() == str(study / "results/t/report.html")


def test_what_follows_two_dashes_is_snakemakes(study, monkeypatch):
    given = {}
    monkeypatch.setattr(run_study, "follow", lambda command, quiet=False: given.update(command=command) or 0)
    assert main(["run", "scores", "--cores", "1", "--", "--keep-going"]) == 0
    assert given["command"][-3:] == ["--keep-going", "--", "scores"]
