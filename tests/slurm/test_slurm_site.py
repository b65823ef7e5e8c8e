"""The shipped profile, filled in as docs/how-to/clusters.md says, on a cluster that keeps accounts."""

import shutil

import one_machine
import pytest
import yaml
from submitting import PROFILE, finish, head
from tiny_study import prepare_study, study

pytestmark = pytest.mark.parametrize("cluster", [True], indirect=True, ids=["slurmdbd"], scope="module")
EMBED_FAMILY = "embed_checkpoint:\n    <<: *gpu\n    mem_mb: "
FILLED_IN = {
    "  # slurm_account: my-account": "  slurm_account: lab",
    "&gpu {}": "&gpu {gpu_model: h200, constraint: pretended}",
    f"{EMBED_FAMILY}16000 * attempt": f"{EMBED_FAMILY}400 * attempt**4",
}


@pytest.fixture
def folder(cluster, tmp_path):
    """Two families of prompts under the base model, and the site's own profile."""
    folder = prepare_study(tmp_path / "study")
    config = study()
    config["grid"] |= {"adapters": ["base"], "prompts": ["none", "eol"], "poolings": ["mean"], "jobs": "task"}
    config["tasks"]["more"] = {"source": "file", "path": "labelled.csv"}
    for section in ("ablations", "attention", "exports"):
        config.pop(section)
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    shutil.copytree(PROFILE, folder / "site")
    text = (folder / "site/config.yaml").read_text()
    for shipped, filled_in in FILLED_IN.items():
        assert text.count(shipped) == 1
        text = text.replace(shipped, filled_in)
    (folder / "site/config.yaml").write_text(text)
    return folder


def test_a_filled_in_copy_asks_for_the_sites_account_and_gpus_and_starved_jobs_for_more(folder):
    finish(folder, head(folder, "embeddings", profile=folder / "site"))
    jobs = one_machine.jobs()
    assert {job["account"] for job in jobs} == {"lab"}
    others = [job for job in jobs if job["rule"] != "embed_checkpoint"]
    assert {(job["partition"], job["gpus"], job["feature"]) for job in others} == {("cpu", "N/A", "(null)")}
    embed = [job for job in jobs if job["rule"] == "embed_checkpoint"]
    assert {(job["partition"], job["gpus"], job["feature"]) for job in embed} == {
        ("gpu", "gres:gpu:h200:1", "pretended")
    }
    assert (
        sorted((job["memory"], job["state"]) for job in embed if job["state"] == "COMPLETED")
        == [("6400M", "COMPLETED")] * 2
    )
    assert sum(job["memory"] == "400M" for job in embed) == 2


def test_an_account_that_does_not_exist_is_told_before_a_job_runs(folder):
    before = len(one_machine.jobs())
    process = head(folder, "tasks", "--default-resources", "slurm_account=nobody", "mem_mb=4000", "--retries", "0")
    assert process.wait(timeout=300) != 0
    assert "nobody" in (folder / "head.log").read_text()
    assert len(one_machine.jobs()) == before
