"""A study whose baseline is a server on loopback, run by Snakemake: scored, kept, and its key nowhere."""

import json

import pytest
import yaml
from fake_openai import KEY, FakeServer, fake_openai
from tiny_study import jobs, prepare_study, snakemake, study

pytestmark = pytest.mark.workflow
SCORES = "results/tiny/scores/baselines/served.json"


def with_server(server: FakeServer, **changes: object) -> dict:
    spec = {"kind": "openai", "url": server.url, "model": "embedder", "key_variable": "SERVED_KEY", **changes}
    return {**study(), "baselines": {"served": spec}}


def test_a_served_baseline_is_scored_once_and_its_key_is_in_no_file(tmp_path):
    folder = prepare_study(tmp_path / "study")
    with fake_openai() as server:
        server.needs_key = True
        server.embed = lambda text: (
            [float(word in text) for word in ("bread", "oven", "sail", "mast", "melody", "chord")] + [1.0]
        )
        answer = snakemake(folder, SCORES, config=with_server(server), SERVED_KEY=KEY)
        assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-4000:]
        sent = len(server.bodies)
        facts = json.loads(
            (folder / "results/tiny/embeddings/baselines/served/topics.safetensors.meta.json").read_text()
        )
        assert facts["requests"] == sent == 1 and facts["tokens"] > 100 and facts["texts"] == 36
        shown = [answer.stdout, answer.stderr]
        files = [path for path in folder.rglob("*") if path.is_file()]  # Snakemake's own are among them
        shown += [path.read_text(encoding="utf-8", errors="replace") for path in files]
        assert any(".snakemake" in path.parts for path in files)
        assert not any(KEY in text for text in shown)
        with fake_openai() as elsewhere:  # its address, and how it is asked, run nothing again
            other = with_server(elsewhere, batch_size=3, retries=1)
            (folder / "study.yaml").write_text(yaml.safe_dump(other, sort_keys=False))
            assert jobs(snakemake(folder, SCORES, "--dry-run", SERVED_KEY=KEY)) == {}
        changed = with_server(server, model="embedder-2")
        (folder / "study.yaml").write_text(yaml.safe_dump(changed, sort_keys=False))
        assert jobs(snakemake(folder, SCORES, "--dry-run")) == {"embed_baseline": 1, "score_baseline": 1}


def test_a_missing_key_is_one_line_of_the_job(tmp_path):
    folder = prepare_study(tmp_path / "study")
    with fake_openai() as server:
        answer = snakemake(folder, SCORES, config=with_server(server))
    assert answer.returncode and "baselines.served.key_variable: the environment has no SERVED_KEY" in answer.stderr
