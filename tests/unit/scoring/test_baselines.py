"""Floors and rivals: rows of the same table, from vectors that cost as little as they can."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from promptpool.artifacts.parts import listed_file, listed_files
from promptpool.embedding.text_lengths import LENGTHS
from promptpool.embedding.vector_file import read_vectors
from promptpool.errors import PromptpoolError
from promptpool.models.sentence_model import sentence_model
from promptpool.scoring.baseline_lengths import baseline_lengths
from promptpool.scoring.embed_baseline import baseline_model, embed_baseline, sentence_vectors
from promptpool.scoring.score_baseline import inline_vectors, score_baseline, tfidf_svd
from promptpool.scoring.scored_task import ScoredTask
from promptpool.tasks.build_task import build_task
from promptpool.templates import Template
from tiny import tiny_model, tiny_tokenizer
from tiny_study import sentences

TEXTS = ["bread and butter", "a sail and a mast", "bread and dough"]


def encoded(texts: list[str], spec: dict, where: str, device: str = "auto") -> np.ndarray:
    return sentence_vectors(texts, spec, where, baseline_model(spec, where, device))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A sentence-transformers directory: an embedding a token, averaged."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model") / "static"
    module = StaticEmbedding(tiny_tokenizer()._tokenizer, embedding_dim=12)
    SentenceTransformer(modules=[module], prompts={"own": "never used: "}, default_prompt_name="own").save(str(folder))
    return str(folder)


def spec(path: str, **changes: object) -> dict:
    plain = {"kind": "sentence-transformers", "revision": None, "prompt": "{text}", "max_text_tokens": None}
    return {**plain, "trust_remote_code": False, "path": path, **changes}


def test_random_vectors_are_seeded_and_unlike():
    draws = list(inline_vectors(TEXTS, {"kind": "random", "dim": 6, "seeds": 5}))
    again = list(inline_vectors(TEXTS, {"kind": "random", "dim": 6, "seeds": 5}))
    assert len(draws) == 5 and draws[0].shape == (3, 6) and draws[0].dtype == np.float32
    assert all((one == other).all() for one, other in zip(draws, again, strict=True))
    assert len({float(draw.sum()) for draw in draws}) == 5


def test_tfidf_knows_shared_words():
    (vectors,) = inline_vectors(TEXTS, {"kind": "tfidf-svd", "dim": 64})
    assert vectors[0] @ vectors[2] > vectors[0] @ vectors[1] + 0.1


def test_a_models_vectors_are_its_own(model):
    from sentence_transformers import SentenceTransformer

    wanted = SentenceTransformer(model).encode(TEXTS, prompt="")
    np.testing.assert_allclose(encoded(TEXTS, spec(model), "baselines.mine"), wanted, atol=1e-6)


def test_a_prompt_goes_around_the_text_and_no_other_does(model):
    found = encoded(["bread"], spec(model, prompt="query: {text} !"), "baselines.mine")
    np.testing.assert_allclose(found, encoded(["query: bread !"], spec(model), "baselines.mine"), atol=1e-6)


def test_a_path_that_is_no_model_is_told_in_one_line(tmp_path):
    with pytest.raises(PromptpoolError) as caught:
        encoded(TEXTS, spec(str(tmp_path)), "baselines.mine")
    assert str(caught.value).startswith(f"baselines.mine.path: {str(tmp_path)!r} can't be loaded")
    assert "\n" not in str(caught.value)


def test_code_of_a_repository_runs_only_where_its_own_key_says_so(model, tmp_path):
    folder = Path(shutil.copytree(model, tmp_path / "own"))
    modules = json.loads((folder / "modules.json").read_text())
    told = modules[0]["type"].rpartition(".")
    (folder / "mine.py").write_text(
        f"from {told[0]} import {told[2]} as Known\nopen({str(tmp_path / 'ran')!r}, 'w')\nclass Mine(Known): pass\n"
    )
    (folder / "modules.json").write_text(json.dumps([{**modules[0], "type": "mine.Mine"}]))
    with pytest.raises(PromptpoolError, match=r"^baselines\.mine\.path: .*trust_remote_code: true") as caught:
        encoded(TEXTS, spec(str(folder)), "baselines.mine")
    assert not (tmp_path / "ran").exists() and "\n" not in str(caught.value)
    found = encoded(TEXTS, spec(str(folder), trust_remote_code=True), "baselines.mine")
    assert (tmp_path / "ran").exists()
    np.testing.assert_array_equal(found, encoded(TEXTS, spec(model), "baselines.mine"))


def test_weights_in_a_pickle_are_refused(model, tmp_path):
    import torch
    from safetensors.torch import load_file

    folder = Path(shutil.copytree(model, tmp_path / "own"))
    (weights,) = folder.rglob("*.safetensors")
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    encoded(TEXTS, spec(str(folder)), "baselines.mine")  # beside safetensors it is not read
    weights.unlink()
    with pytest.raises(PromptpoolError, match=r"pytorch_model\.bin is a pickle, and only safetensors are read"):
        encoded(TEXTS, spec(str(folder)), "baselines.mine")


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> ScoredTask:
    folder = tmp_path_factory.mktemp("task")
    sentences(3, 12).to_csv(folder / "mine.csv", index=False)
    own = {"source": "file", "path": str(folder / "mine.csv"), "text": "text", "label": "label"}
    build_task("mine", own, None, str(folder / "labelled.parquet"), str(folder / "texts.parquet"))
    return ScoredTask("mine", own, str(folder / "labelled.parquet"), str(folder / "texts.parquet"))


def rows(task: ScoredTask, folder, name: str, baseline: dict, vectors: str | None = None) -> pd.DataFrame:
    out = folder / f"{name}.json"
    score_baseline(str(out), [task], name=name, baseline=baseline, vectors=vectors)
    (table,) = listed_files([out], ".parquet")
    (results,) = listed_files([out], ".results.jsonl")
    assert len(Path(results).read_text().splitlines()) == baseline.get("seeds", 1)
    return pd.read_parquet(table)


def test_each_of_several_dimensions_has_its_own_rows(task, tmp_path):
    """Under pooling `svd-<dim>`, with the scores, replicates and MTEB revision that the dimension alone would give."""
    out = tmp_path / "tfidf.json"
    score_baseline(str(out), [task], name="tfidf", baseline={"kind": "tfidf-svd", "dim": [2, 6]}, vectors=None)
    (table,), (results,) = (list(listed_files([out], suffix)) for suffix in (".parquet", ".results.jsonl"))
    found = pd.read_parquet(table)
    assert set(found["pooling"]) == {"svd-2", "svd-6"} and set(found["model"]) == {"tfidf"}
    lines = [json.loads(line) for line in Path(results).read_text().splitlines()]
    assert [line["model_meta"]["revision"] for line in lines] == ["svd-2", "svd-6"]
    for dim in (2, 6):
        alone = rows(task, tmp_path, f"alone-{dim}", {"kind": "tfidf-svd", "dim": dim})
        own = found[found["pooling"] == f"svd-{dim}"].reset_index(drop=True)
        assert set(alone["pooling"]) == {"none"}
        pd.testing.assert_frame_equal(
            own.drop(columns=["model", "pooling"]), alone.drop(columns=["model", "pooling"]), check_exact=False
        )
    main = found[found["metric"] == "main_score"].groupby("pooling")["value"].mean()
    assert main["svd-2"] != main["svd-6"]


def test_a_list_of_one_dimension_is_that_dimension(task, tmp_path):
    found = rows(task, tmp_path, "one", {"kind": "tfidf-svd", "dim": [6]})
    assert set(found["pooling"]) == {"none"}


def test_many_seeds_of_the_random_floor_are_one_set_of_rows(task, tmp_path):
    found = rows(task, tmp_path, "random", {"kind": "random", "dim": 8, "seeds": 4})
    main = found[found["metric"] == "main_score"]
    assert len(main) == 10 and set(main["model"]) == {"random"} and set(main["adapter"]) == {"baseline"}
    one = rows(task, tmp_path, "one", {"kind": "random", "dim": 8, "seeds": 1})
    assert main["value"].std() < one.loc[one["metric"] == "main_score", "value"].std()


def test_a_model_is_encoded_once_and_scored_from_the_file(task, tmp_path, model):
    manifest = tmp_path / "vectors/static.json"
    embed_baseline(str(manifest), texts={"mine": task.texts}, name="static", spec=spec(model), device="cpu")
    (matrix,) = read_vectors(listed_file(manifest, "static/mine.safetensors")).values()
    assert matrix.shape == (len(pd.read_parquet(task.texts)), 12)
    found = rows(task, tmp_path, "static", spec(model), str(manifest))
    assert found.loc[found["metric"] == "main_score", "value"].mean() > 0.2
    assert set(zip(found["model"], found["prompt"], found["pooling"], strict=True)) == {("static", "none", "none")}


@pytest.mark.parametrize(
    "texts",
    [
        ["\U0001f680 \U0001f600", "\U0001f680", "\U0001f600 \U0001f600"],
        ["A", "B", "A", "C"],
        ["the same text"] * 5,
        ["the same text"] * 200,
        ["the", "and", "of"],
        ["word"],
        ["A"] * 150,
    ],
)
def test_tfidf_takes_texts_of_any_kind(texts):
    rows = tfidf_svd(texts, 16)
    assert rows.shape[0] == len(texts) and np.isfinite(rows).all()
    assert np.allclose(rows[texts.index(texts[-1])], rows[-1], atol=1e-5), "equal texts have equal vectors"


def test_tfidf_of_blank_texts_is_refused_in_one_line():
    with pytest.raises(PromptpoolError, match="tfidf-svd: all texts are blank"):
        tfidf_svd(["", " "], 4)


@pytest.mark.parametrize("surrounding", [True, False])
def test_a_baseline_saved_in_bfloat16_runs_in_float32_whatever_surrounds_it(tmp_path, surrounding):
    import torch
    from sentence_transformers import SentenceTransformer

    built = sentence_model(str(tiny_model(tmp_path / "base")), Template.parse("x", "{text}"), "mean", 32, device="cpu")
    built.to(torch.bfloat16).save(str(tmp_path / "half"))
    wanted = SentenceTransformer(str(tmp_path / "half"), device="cpu", model_kwargs={"dtype": torch.float32})
    with torch.autocast("cpu", torch.bfloat16, enabled=surrounding):
        found = encoded(TEXTS, spec(str(tmp_path / "half")), "baselines.half", "cpu")
    np.testing.assert_allclose(found, wanted.encode(TEXTS), atol=1e-6)


def test_a_baselines_sidecar_says_in_what_and_on_what_it_ran(task, tmp_path, model):
    manifest = tmp_path / "static.json"
    embed_baseline(str(manifest), texts={"mine": task.texts}, name="static", spec=spec(model), device="cpu")
    told = json.loads((tmp_path / "static/mine.safetensors.meta.json").read_text())
    assert (told["device"], told["precision"]) == ("cpu", "float32") and told["processor"]


class Counting:
    """A model whose tokens are words, and which reads at most four of them."""

    max_seq_length = 4

    def tokenizer(self, texts: list[str], **_) -> dict:
        return {"input_ids": [text.split() for text in texts]}


def test_a_baseline_counts_what_its_model_cuts_as_far_as_anyone_knows():
    known = {"kind": "sentence-transformers", "prompt": "query: {text}"}
    texts = ["one", "one two three", "one two three four five six seven"]
    facts = baseline_lengths(texts, known, Counting())[LENGTHS]
    assert (facts["long"], facts["before"], facts["after"], facts["largest_lost"]) == (1, 14, 10, 0.5)
    assert baseline_lengths(texts, known, object()) == {}  # no limit, or no tokenizer
    served = {"kind": "openai", "prompt": "{text}", "max_characters": 10}
    assert baseline_lengths(texts, served, None)[LENGTHS]["unit"] == "characters"
    assert baseline_lengths(texts, served, None)[LENGTHS]["long"] == 2
    assert baseline_lengths(texts, served | {"max_characters": None}, None) == {}


def test_a_new_task_of_a_baseline_is_embedded_and_scored_alone(task, tmp_path, model):
    manifest, scores = tmp_path / "vectors/static.json", tmp_path / "static.json"
    texts = {"mine": task.texts}
    embed_baseline(str(manifest), texts=texts, name="static", spec=spec(model), device="cpu")
    rows(task, tmp_path, "static", spec(model), str(manifest))
    (tmp_path / "more").mkdir()
    more = ScoredTask(
        "more", task.spec, *(shutil.copy(path, tmp_path / "more") for path in (task.labelled, task.texts))
    )
    embed_baseline(str(manifest), texts={**texts, "more": more.texts}, name="static", spec=spec(model), device="cpu")
    told = json.loads((tmp_path / "vectors/static.json.meta.json").read_text())
    assert (told["computed"], told["kept"]) == (["static/more.safetensors"], ["static/mine.safetensors"])
    score_baseline(str(scores), [task, more], name="static", baseline=spec(model), vectors=str(manifest))
    told = json.loads((tmp_path / "static.json.meta.json").read_text())
    assert told["computed"] == ["static/more.parquet", "static/more.results.jsonl"]
    assert told["kept"] == ["static/mine.parquet", "static/mine.results.jsonl"]
