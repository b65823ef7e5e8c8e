"""What goes wrong around single jobs, on a cluster with accounting and on one without."""

import signal
import subprocess

import one_machine
import pytest
from submitting import finish, head, running, wait_for
from tiny_study import prepare_study

pytestmark = pytest.mark.parametrize("cluster", [False, True], indirect=True, ids=["plain", "slurmdbd"], scope="module")
TEXTS = "results/tiny/tasks/topics/texts.parquet"
# docs/how-to/clusters.md gives this very line.
CANCEL_ORPHANS = "squeue --me -h -o '%A %j' | awk '$2 ~ /^promptpool/ {print $1}' | xargs -r scancel"


@pytest.fixture
def folder(cluster, tmp_path):
    return prepare_study(tmp_path / "study")


def test_a_cancelled_job_is_submitted_again_and_the_run_ends(folder):
    process = head(folder, "tasks")
    (job,) = wait_for(process, lambda: running("build_task"), "build_task running")
    one_machine.answer("scancel", job["id"])
    finish(folder, process)
    (first, second) = [one for one in one_machine.jobs() if int(one["id"]) >= int(job["id"])]
    assert (first["state"], second["state"]) == ("CANCELLED", "COMPLETED")
    assert (folder / TEXTS).exists()


def test_a_killed_head_process_is_followed_by_another(folder):
    process = head(folder, "tasks")
    (orphan,) = wait_for(process, lambda: running("build_task"), "build_task running")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [job["id"] for job in running("build_task")] == [orphan["id"]], "an orphan goes on"
    subprocess.run(CANCEL_ORPHANS, shell=True, check=True, timeout=30)
    one_machine.until(lambda: not running("build_task"), "the orphan to end")
    finish(folder, head(folder, "--unlock"))
    finish(folder, head(folder, "tasks"))
    assert (folder / TEXTS).exists()
