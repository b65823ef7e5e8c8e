"""Keys stay in the environment: no log, sidecar, table or page repeats them."""

import json
import os

import pandas as pd
import pytest
from fake_openai import KEY, fake_openai
from promptpool.artifacts.files import text_digest
from promptpool.config.resolve import resolve
from promptpool.errors import PromptpoolError
from promptpool.models.checkpoint import Checkpoint
from promptpool.pairs.make_pairs import make_pairs
from promptpool.report.build_report import as_json_types
from promptpool.runtime.job import job
from promptpool.study.study import Study
from tiny_study import sentences, study

SECRETS = {"OPENAI_API_KEY": KEY, "HF_TOKEN": "hf_" + "a1B2" * 8, "WANDB_API_KEY": "0123456789abcdef" * 2}


def written(tmp_path, monkeypatch) -> dict:
    """A resolved study whose pairs a server writes, and its files."""
    monkeypatch.chdir(tmp_path)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    sentences(1, 12).to_csv("labelled.csv", index=False)
    table = sentences(2, 4)
    table[["text"]].to_csv("corpus.csv", index=False)
    table.assign(id=table["text"].map(text_digest), split="train").to_parquet("corpus.parquet")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    config = study()
    config["pairs"]["written"] |= {"backend": "openai", "model": "writer"}
    return config


@pytest.mark.parametrize("fault", [None, 401, 400, 500, "html", "drop"])
def test_a_key_that_a_server_gets_is_in_no_file(tmp_path, monkeypatch, capfd, fault):
    config = written(tmp_path, monkeypatch)
    with fake_openai() as server:
        server.needs_key, server.always = True, fault
        config["backends"] = {"openai": {"url": server.url, "retries": 0}}
        known = Study(resolve(config))
        try:
            with job("logs/pairs.log", reads=["corpus.parquet"], writes=["pairs/written.parquet"]):
                make_pairs(
                    "corpus.parquet", "pairs/written.parquet", name="written", spec=known.pairs_spec("written"),
                    shard_size=5, options=known.backend_options("written"), writer=Checkpoint("writer"),
                )  # fmt: skip
            assert fault is None
        except SystemExit:
            assert fault is not None
        assert server.tries or fault == 401
    shown = json.dumps(as_json_types(known.shown()))
    told = "".join(capfd.readouterr())
    assert ("Error: " in told) == (fault is not None)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert (tmp_path / "pairs/written.parquet" in files) == (fault is None)
    for secret in SECRETS.values():
        assert secret not in shown + told
        assert [str(path) for path in files if secret.encode() in path.read_bytes()] == []
    if fault is None:
        cells = pd.read_parquet(tmp_path / "pairs/written.parquet").to_json()
        assert not any(secret in cells for secret in SECRETS.values())


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("backends",), {"openai": {"extra": {"api_key": "mine"}}}),
        (("backends",), {"openai": {"extra": {"extra_headers": {"Authorization": "Bearer mine"}}}}),
        (("backends",), {"openai": {"extra": {"user": KEY}}}),
        (("prompts", "eol"), f"{{text}} {SECRETS['HF_TOKEN']}"),
    ],
)
def test_a_secret_in_the_configuration_is_refused_and_not_repeated(tmp_path, monkeypatch, place, value):
    config = at = written(tmp_path, monkeypatch)
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    with pytest.raises(PromptpoolError, match="this looks like a secret, and would be shown") as caught:
        resolve(config)
    assert not any(secret in str(caught.value) for secret in (*SECRETS.values(), "Bearer"))


def test_what_a_server_may_be_asked_for_is_no_secret(tmp_path, monkeypatch):
    config = written(tmp_path, monkeypatch)
    extra = {"max_completion_tokens": 9, "stop_token_ids": [1], "chat_template_kwargs": {"enable_thinking": False}}
    config["backends"] = {"openai": {"extra": {**extra, "tokenizer": "x"}}}
    assert resolve(config)["backends"]["openai"]["extra"]["stop_token_ids"] == [1]
    assert os.environ["OPENAI_API_KEY"] == KEY
