"""Where a cluster of one machine cannot be, the tests skip with one line that says why."""

import os
import shutil

import one_machine
import pytest


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Root's, on Debian, with nothing installed; `refuse` of it is tested below."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(one_machine, "ETC", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: "/usr/bin/apt-get" if name == "apt-get" else None)
    return tmp_path


def test_root_on_debian_is_enough(machine):
    assert one_machine.why_not() is None


def test_anyone_else_is_told_that_it_takes_root(machine, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert one_machine.why_not() == "a SLURM cluster of one machine needs root"


def test_another_system_is_told_what_is_missing(machine, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None if name in ("apt-get", "slurmdbd") else name)
    assert one_machine.why_not() == "SLURM is not installed (slurmdbd) and this is no Debian to install it on"


def test_a_real_clusters_configuration_stays_untouched(machine):
    real = machine / "slurm.conf"
    real.write_text("ClusterName=real\n")
    assert one_machine.why_not() == f"{real} is there already, of a real cluster perhaps: it stays untouched"
    assert one_machine.left_behind() == []
    real.write_text(one_machine.SIGNED + "ClusterName=pretended\n")
    assert one_machine.why_not() is None
    assert one_machine.left_behind() == [real]
