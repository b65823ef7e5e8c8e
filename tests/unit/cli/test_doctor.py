"""`promptpool doctor`: each check both ways, and a table in time even if a check hangs."""

import subprocess
import time
from collections import namedtuple

import pytest
from promptpool.cli import doctor, machine_checks
from promptpool.cli.command import main
from promptpool.cli.machine_checks import WRONG, Finding

Usage = namedtuple("Usage", "total used free")
SMI = "NVIDIA H200, 143771, 575.57, 9.0\n"


@pytest.fixture
def smi(monkeypatch):
    """nvidia-smi as it answers; None: there is none."""

    def set_to(answer: str | None) -> None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(machine_checks.shutil, "which", lambda name: answer and f"/usr/bin/{name}")
        done = subprocess.CompletedProcess([], 0, answer, "")
        monkeypatch.setattr(machine_checks.subprocess, "run", lambda *_, **__: done)

    return set_to


def test_a_gpu_is_found_and_its_absence_is_no_fault(smi, monkeypatch):
    monkeypatch.setattr(machine_checks, "torch_build", lambda: "2.13.0+cu130")
    smi(SMI)
    found = machine_checks.gpu()
    assert found.state == "ok" and "H200, 140 GiB, driver 575.57" in found.found
    assert "bfloat16" in machine_checks.precision().found
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine_checks.gpu().state == "note" and "hides it" in machine_checks.gpu().found
    smi(None)
    assert machine_checks.gpu().state == "note" and machine_checks.precision().found.startswith("float32 throughout")


def test_a_cpu_build_of_torch_beside_a_gpu_is_a_fault(smi, monkeypatch):
    smi(SMI)
    monkeypatch.setattr(machine_checks, "torch_build", lambda: "2.13.0+cpu")
    assert machine_checks.gpu().state == WRONG and "CUDA" in machine_checks.gpu().fix


def test_an_old_gpu_is_slow_in_training(smi, monkeypatch):
    smi("Tesla T4, 15360, 535.1, 7.5\n")
    monkeypatch.setattr(machine_checks, "torch_build", lambda: "2.13.0+cu130")
    assert machine_checks.precision().state == "note"


def test_a_driver_that_hangs_or_fails_is_no_gpu(smi, monkeypatch):
    smi(SMI)

    def hang(*_, **__):
        raise subprocess.TimeoutExpired("nvidia-smi", 5)

    monkeypatch.setattr(machine_checks.subprocess, "run", hang)
    assert machine_checks.gpus() == []


def test_memory_and_disk_both_ways(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine_checks, "memory_here", lambda: (1e9, 2e9))
    assert machine_checks.main_memory().state == "note"
    monkeypatch.setattr(machine_checks, "memory_here", lambda: (20e9, 32e9))
    assert machine_checks.main_memory().state == "ok"
    for free, state in ((1e6, WRONG), (2e9, "note"), (50e9, "ok")):
        monkeypatch.setattr(machine_checks.shutil, "disk_usage", lambda place, free=free: Usage(1e12, 0, free))
        assert machine_checks.disk().state == state
    monkeypatch.setattr(machine_checks.os, "access", lambda *_: False)
    assert machine_checks.disk().state == WRONG


def test_a_token_is_found_where_the_hub_keeps_it_and_never_shown(monkeypatch, tmp_path):
    for name in ("HF_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert machine_checks.token().state == "note"
    (tmp_path / "token").write_text("hf_secret")
    assert machine_checks.token().state == "ok" and "hf_secret" not in machine_checks.token().found
    (tmp_path / "token").unlink()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert machine_checks.token().state == "ok" and "hf_secret" not in machine_checks.token().found


def test_the_hub_both_ways(monkeypatch):
    from promptpool.study import preflight

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "switched off" in machine_checks.hub().found
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    for answers, state in ((True, "ok"), (False, "note")):
        monkeypatch.setattr(preflight, "reachable", lambda endpoint, answers=answers: answers)
        assert machine_checks.hub().state == state


def test_vllm_both_ways(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine_checks, "checkout", lambda: None)
    monkeypatch.setattr(machine_checks, "find_spec", lambda name: None)
    assert machine_checks.vllm().state == "note"
    built = tmp_path / ".vllm/bin/python"
    built.parent.mkdir(parents=True)
    built.touch(mode=0o755)
    assert machine_checks.vllm().state == "ok"


def test_packages_and_python_that_are_missing_are_faults(monkeypatch):
    assert machine_checks.packages().state == machine_checks.python().state == "ok"
    monkeypatch.setattr(machine_checks, "PACKAGES", ("torch", "no-such-package"))
    monkeypatch.setattr(machine_checks, "LEAST_PYTHON", (9, 0))
    assert "no-such-package" in machine_checks.packages().found
    assert machine_checks.packages().state == machine_checks.python().state == WRONG


def slow() -> Finding:
    time.sleep(30)
    return Finding("slow", "ok", "late")


def broken() -> Finding:
    raise RuntimeError("no such file")


def test_a_check_that_hangs_or_breaks_holds_up_nothing():
    started = time.monotonic()
    found = doctor.look_at_machine([machine_checks.cores, slow, broken], at_most=0.5)
    assert time.monotonic() - started < 5
    assert [one.state for one in found][1:] == ["note", "note"] and found[0].name == "cores"
    assert "no answer in time" in found[1].found and "no such file" in found[2].found


def test_the_table_has_a_row_for_each_check_and_a_fix_for_each_that_is_not_ok(capsys, monkeypatch):
    assert main(["doctor"]) in (0, 1)
    text = capsys.readouterr().out
    rows = [line for line in text.splitlines() if line[:2] in ("ok", "--", "!!") and line[2:4] == "  "]
    assert len(rows) == len(machine_checks.CHECKS)
    assert text.count("->") == sum(not row.startswith("ok") for row in rows)
    monkeypatch.setattr(doctor, "look_at_machine", lambda: [Finding("disk", WRONG, "full", "free some")])
    assert main(["doctor"]) == 1
