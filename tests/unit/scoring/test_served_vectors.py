"""A baseline behind a server on loopback: batches, retries, refusals, costs, and a key that is never shown."""

import base64
import json
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_openai import KEY, FakeServer, embedding_of, fake_openai
from promptpool.artifacts.files import sidecar_path
from promptpool.embedding.vector_file import read_vectors
from promptpool.errors import PromptpoolError
from promptpool.generation import server_client
from promptpool.scoring.embed_baseline import embed_baseline
from promptpool.scoring.served_vectors import ServedModel, read_vectors_of

TEXTS = [f"text number {i} of the oven" for i in range(23)]
SPEC = {"kind": "openai", "model": "text-embedding", "prompt": "{text}", "dimensions": None, "max_characters": None}


@pytest.fixture
def server(monkeypatch) -> Iterator[FakeServer]:
    monkeypatch.setattr(server_client, "FIRST_WAIT", 0.01)
    with fake_openai() as running:
        yield running


def how(server: FakeServer, **changes: object) -> dict:
    plain = {"url": server.url, "key_variable": None, "timeout": 5, "retries": 3, "concurrency": 3, "batch_size": 5}
    return {**plain, **changes}


def served(server: FakeServer, texts: list[str] = TEXTS, spec: dict | None = None, **changes: object) -> np.ndarray:
    model = ServedModel({**SPEC, **(spec or {})}, how(server, **changes), "baselines.served")
    try:
        return model.vectors(texts)[0]
    finally:
        model.close()


def expected(texts: list[str] = TEXTS) -> np.ndarray:
    return np.array([embedding_of(text) for text in texts], np.float32)


def line_of(server: FakeServer, texts: list[str] = TEXTS, spec: dict | None = None, **changes: object) -> str:
    with pytest.raises(PromptpoolError) as caught:
        served(server, texts, spec, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_vectors_come_in_the_order_of_the_texts_in_batches(server):
    found = served(server)
    assert found.dtype == np.float32 and (found == expected()).all()
    assert sorted(len(body["input"]) for body in server.bodies) == [3, 5, 5, 5, 5]
    assert set(server.paths) == {"/v1/embeddings"} and {body["model"] for body in server.bodies} == {"text-embedding"}
    assert not any("dimensions" in body for body in server.bodies)


def test_at_most_so_many_requests_run_at_once(server):
    server.delay = 0.05
    served(server, concurrency=2, batch_size=1)
    assert server.most_at_once == 2


def test_prompt_length_and_dimensions_are_sent(server):
    served(server, TEXTS[:1], {"prompt": "query: {text}.", "max_characters": 8, "dimensions": 3})
    assert server.bodies[0]["input"] == ["query: text num."] and server.bodies[0]["dimensions"] == 3


def test_vectors_in_base64_are_read_too():
    rows = expected(TEXTS[:3])
    data = [
        {"index": i, "embedding": base64.b64encode(row.astype("<f4").tobytes()).decode()} for i, row in enumerate(rows)
    ]
    assert (read_vectors_of({"data": data}, 3) == rows).all()


@pytest.mark.parametrize("fault", [500, 503, 429, (429, {"Retry-After": "0"}), "drop", "html", "fields"])
def test_a_temporary_fault_is_tried_again(server, fault):
    server.plan.extend([fault] * 3)
    assert (served(server) == expected()).all()


@pytest.mark.parametrize("content", [{"data": []}, {"data": [{"index": 5, "embedding": [1.0]}]}, {"error": "x"}])
def test_an_answer_of_another_shape_is_tried_again_and_then_shown(server, content):
    server.always = {"content": content}
    line = line_of(server, TEXTS[:1], retries=1)
    assert line.startswith(f"baselines.served: {server.url} failed 2 times for 1 texts, last with no embeddings")


def test_a_server_that_stays_broken_is_one_line(server):
    server.always = 500
    assert "failed 2 times for 5 texts, last with HTTP 500" in line_of(server, retries=1)


def test_nothing_at_the_address_is_one_line(server):
    line = line_of(server, url="http://127.0.0.1:9/v1")
    assert line.startswith("baselines.served.url: no server answers at http://127.0.0.1:9/v1")


def test_a_batch_that_is_too_large_is_halved_and_a_text_that_is_refused_alone_is_named(server):
    refused = "a long text"
    server.rule = lambda text: "long" if refused in text or text.count("oven") > 2 else None
    assert (served(server) == expected()).all()
    line = line_of(server, [*TEXTS[:7], refused])
    assert "maximum context length" in line and "max_characters, or leave out 'a long text'" in line


def test_an_account_without_credit_ends_it_at_once(server):
    server.always = "quota"
    line = line_of(server, retries=50)
    assert "no credit left" in line and "look at your account" in line and len(server.bodies) <= 3


def test_an_unknown_model_is_one_line(server):
    server.always = 404
    assert "name a model that it serves" in line_of(server)


def test_a_vector_that_is_not_finite_names_its_text(server):
    server.embed = lambda text: [float("nan") if text == TEXTS[7] else 1.0]
    assert f"the vector of {TEXTS[7]!r} is not finite" in line_of(server)


def test_vectors_of_two_sizes_are_refused(server):
    server.embed = lambda text: [1.0] * (3 if text in TEXTS[:5] else 4)
    assert "vectors of [3, 4] dimensions" in line_of(server)


def test_the_key_opens_the_server_and_a_wrong_or_missing_one_is_one_line(server, monkeypatch):
    server.needs_key = True
    monkeypatch.setenv("MY_KEY", KEY)
    assert (served(server, key_variable="MY_KEY") == expected()).all()
    monkeypatch.setenv("MY_KEY", "sk-wrong-9876543210")
    line = line_of(server, key_variable="MY_KEY")
    assert "refuses (401" in line and "export the right key as MY_KEY" in line and "9876543210" not in line
    assert "in baselines.served.key_variable" in line_of(server)
    monkeypatch.delenv("MY_KEY")
    assert line_of(server, key_variable="MY_KEY").startswith("baselines.served.key_variable: the environment has no")


@pytest.mark.parametrize("fault", [400, 500, "html", None])
def test_the_key_is_in_no_log_no_error_and_no_file(server, fault, monkeypatch, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MY_KEY", KEY)
    server.always, server.needs_key = fault, True  # its messages quote the key
    shown = []
    try:
        embed(server, tmp_path, key_variable="MY_KEY", retries=1)
    except PromptpoolError as error:
        shown += ["".join(traceback.format_exception(error)), repr(error)]
    shown += [caplog.text, *capfd.readouterr(), *(path.read_text(errors="replace") for path in files_of(tmp_path))]
    assert not any("0123456789" in text for text in shown)


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def embed(
    server: FakeServer, folder: Path, texts: list[str] = TEXTS, spec: dict | None = None, **changes
) -> np.ndarray:
    (folder / "tasks").mkdir(exist_ok=True)
    pd.DataFrame({"text": texts}).to_parquet(folder / "tasks/texts.parquet")
    out = folder / "embeddings/served.json"
    given = {"topics": str(folder / "tasks/texts.parquet")}
    embed_baseline(str(out), texts=given, name="served", spec={**SPEC, **(spec or {})}, server=how(server, **changes))
    (matrix,) = read_vectors(str(folder / "embeddings/served/topics.safetensors")).values()
    return matrix


def test_requests_and_tokens_are_in_the_sidecar(server, tmp_path):
    server.plan.append(500)
    assert (embed(server, tmp_path) == expected()).all()
    facts = json.loads(sidecar_path(tmp_path / "embeddings/served/topics.safetensors").read_text())
    assert (facts["requests"], facts["tokens"], facts["texts"]) == (5, 6 * len(TEXTS), len(TEXTS))
    assert facts["spec"] == SPEC and server.url not in json.dumps(facts)


def test_vectors_that_are_kept_are_not_paid_for_again(server, tmp_path):
    embed(server, tmp_path)
    sent = len(server.bodies)
    with fake_openai() as other:
        embed(other, tmp_path, batch_size=2)  # neither address nor batch size decide a vector
        assert other.bodies == []
    embed(server, tmp_path, spec={"model": "another"})
    assert len(server.bodies) == 2 * sent
