"""The model card: its facts, its front matter, and names that try to break it."""

import re

import pandas as pd
import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard
from promptpool.export.export_model import Training, data_of, scores_of
from promptpool.export.markdown import cell, code, escaped, fenced
from promptpool.export.model_card import Card, model_card
from tiny_export import PROMPT, VARIANT, tables

NASTY = "a`b``c|d\n---\n# <script>alert(1)</script> {{ x }} [l](u) ' \" : é"
SCORES = pd.DataFrame(
    [("export out", False, 0.432, 0.41, 0.46), ("export out - untuned", True, 0.123, 0.1, 0.15),
     ("on topics", False, 0.5, 0.4, 0.6)],
    columns=["what", "difference", "score", "low", "high"],
)  # fmt: skip


def card(**changes) -> Card:
    variant = {**VARIANT, "template": PROMPT, "max_text_tokens": 12, "normalize": True} | changes.pop("variant", {})
    base = {"id": "owner/model", "hub": True, "revision": "abc123", "licence": {"license": "apache-2.0"}}
    data = [{"set": "rewritten", "corpus": "lines", "style": "detail", "count": 1420}]
    facts = {
        "name": "out", "variant": variant, "base": base | changes.pop("base", {}), "merged": True, "dtype": "float32",
        "dim": 32, "scores": SCORES, "data": data, "tasks": {"topics": "Clustering"}, "measure": "V-measure",
        "recipe": {"batch_size": 8, "lora": {"rank": 4}},
    }  # fmt: skip
    return Card(**{**facts, **changes})


def read_front_matter(text: str) -> dict:
    """A card's head as the hub's own reader has it."""
    return ModelCard(text).data.to_dict()


def test_the_card_tells_base_licence_data_recipe_scores_and_loading():
    text = model_card(card())
    for told in ("`owner/model`", "abc123", "apache-2.0", "| `rewritten` | `lines` | detail | 1,420 |", "batch_size: 8",
                 "| export out | 43.2 | 41.0 to 46.0 |", "| export out - untuned | +12.3 | +10.0 to +15.0 |", PROMPT,
                 "| on topics | 50.0 |", 'SentenceTransformer("out")', "12 tokens", "`tuned` at step 3"):  # fmt: skip
        assert told in text, told


def test_the_card_says_what_is_taken_as_given_and_how_the_best_was_chosen():
    text = model_card(card(recipe={"seed": 7}))
    assert (
        "the tasks and this training (seed 7) are taken as given" in text and "all candidates at once (max-T)" in text
    )
    assert "; the tasks are taken as given" in model_card(card(recipe=None))
    assert "taken as given" not in model_card(card(scores=SCORES[:0]))  # nothing was scored


def test_front_matter_is_what_the_hub_reads():
    head = read_front_matter(model_card(card()))
    assert head["base_model"] == "owner/model" and head["base_model_relation"] == "finetune"
    assert head["license"] == "apache-2.0" and head["library_name"] == "sentence-transformers"
    assert head["pipeline_tag"] == "sentence-similarity" and "sentence-transformers" in head["tags"]
    alone = read_front_matter(model_card(card(merged=False)))
    assert alone["base_model_relation"] == "adapter"


def test_a_licence_of_its_own_name_is_what_the_hub_reads():
    head = read_front_matter(model_card(card(base={"licence": {"license": "other", "license_name": "llama3.2"}})))
    assert (head["license"], head["license_name"], head["base_model"]) == ("other", "llama3.2", "owner/model")


def test_the_hub_reads_the_score_on_each_task():
    results = [EvalResult("text-classification", "Topics", "Topics (default)", "v_measure", 0.492,
                          dataset_config="default", dataset_split="test", dataset_revision="abc")]  # fmt: skip
    found = ModelCard(model_card(card(results=results))).data
    assert (found.model_name, found.eval_results) == ("out", results) and "mteb" in found.tags
    (row,) = read_front_matter(model_card(card(results=results)))["model-index"]
    assert row["results"][0]["metrics"] == [{"type": "v_measure", "value": 0.492}]


def test_scores_on_synthetic_queries_are_called_so():
    text = model_card(card(tasks={"topics": "Clustering", "MySyntheticSearch": "Retrieval"}))
    assert "a language model wrote their queries, no person asked them" in text.replace("\n", " ")
    assert "wrote their queries" not in model_card(card())


def test_a_model_that_was_not_scored_claims_no_result():
    head = read_front_matter(model_card(card()))
    assert "model-index" not in head and "mteb" not in head["tags"]


def test_the_hub_reads_data_sets_and_languages_of_the_training_texts():
    corpora = [{"languages": ["en", "de"], "commits": {"owner/texts": "abc"}}, {"languages": ["en"]}]
    head = read_front_matter(model_card(card(corpora=corpora)))
    assert (head["language"], head["datasets"]) == (["de", "en"], ["owner/texts"])
    assert not {"language", "datasets"} & set(read_front_matter(model_card(card())))


def test_a_base_that_is_no_hub_model_is_not_linked_and_an_unknown_licence_is_said():
    text = model_card(card(base={"id": "mine", "hub": False, "revision": "f" * 64, "licence": {}}))
    head = read_front_matter(text)
    assert "base_model" not in head and "license" not in head
    assert "a local directory" in text and "SHA-256 " + "f" * 64 in text
    assert "licence | unknown: the base model's card names none" in text


def test_an_untuned_model_says_that_nothing_was_trained():
    text = model_card(card(variant={"adapter": "base", "step": 0}, data=[], recipe=None))
    assert text.count("None: the base model was not tuned.") == 2 and "lora" not in text


def test_a_variant_that_was_not_scored_says_so():
    text = model_card(card(scores=SCORES.iloc[:0]))
    assert "was not among those that its run scored" in text and "They say nothing of this variant." in text
    assert "clustering" not in text and "retrieval" not in text


@pytest.mark.parametrize(
    ("tasks", "kinds"),
    [
        ({"one": "Clustering", "two": "Clustering"}, "clustering (2 tasks)"),
        ({"one": "STS", "two": "PairClassification"}, "pair classification (1 task), STS (1 task)"),
        ({"one": "Retrieval"}, "retrieval (1 task)"),
        ({"one": "InstructionRetrieval", "two": "STS"}, "instruction retrieval (1 task), STS (1 task)"),
    ],
)
def test_the_card_says_which_kinds_of_tasks_were_scored(tasks, kinds):
    text = model_card(card(tasks=tasks, measure="main score (ndcg_at_10)"))
    assert f"The main score (ndcg_at_10) x 100, as MTEB computes it, of {kinds}, with" in text
    assert ("clustering" in text.lower()) == ("Clustering" in tasks.values())


def test_retrieval_is_named_as_not_measured_only_where_it_was_not():
    without, measured = model_card(card()), model_card(card(tasks={"topics": "Clustering", "found": "Retrieval"}))
    assert "nothing of other kinds of tasks (retrieval is one), other languages or longer texts." in without
    assert "nothing of other kinds of tasks, other languages or longer texts." in measured


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"merged": False}, "It also needs peft"),
        ({"merged": False}, 'model_kwargs={"dtype": "float32"}'),
        ({"dtype": "bfloat16"}, 'model_kwargs={"dtype": "float32"}'),
        ({"merged": False, "base": {"hub": False}}, "by the path it had"),
        ({"variant": {"pooling": "concat"}}, "sentence-transformers 6 or newer"),
        ({"variant": {"layer": 2}}, "vLLM does not know"),
        ({"variant": {"template": "{text}"}}, "without a prompt"),
    ],
)
def test_what_a_kind_of_export_needs_is_told(changes, told):
    assert told in model_card(card(**changes))
    assert told not in model_card(card())


def test_weird_names_break_neither_front_matter_nor_table_nor_code():
    text = model_card(
        card(
            name=NASTY,
            base={"id": NASTY, "revision": NASTY, "licence": {"license": NASTY}},
            variant={"adapter": NASTY, "prompt": NASTY, "template": f"```\n---\n{NASTY}{{text}}\n````"},
            data=[{"set": NASTY, "corpus": NASTY, "style": NASTY, "count": 3}],
            recipe={NASTY: NASTY},
            scores=SCORES.assign(what=NASTY),
        )
    )
    head = read_front_matter(text)
    assert head["base_model"] == NASTY and head["license"] == NASTY
    body = text.split("\n---\n\n", 1)[1]
    assert [line for line in body.splitlines() if line.startswith("## ")] == [
        "## How to load", "## Prompt and limits", "## Scores", "## Training data", "## Recipe",
    ]  # fmt: skip
    for line in body.splitlines():
        if line.startswith("| ") and line.endswith(" |"):
            cells = len(re.findall(r"(?<!\\)\|", line)) - 1
            assert cells in (2, 3, 4), line
    outside = re.sub(r"(?ms)^(`{3,})\w*\n.*?^\1$", "", body)
    assert "<script>" not in re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", outside)
    python = re.search(r"```python\n(.*?)\n```", body, re.S)[1]
    compile(python, "card", "exec")
    recipe = re.search(r"(?ms)^## Recipe\n\n(`{3,})yaml\n(.*?)^\1$", body)[2]
    assert yaml.safe_load(recipe) == {NASTY: NASTY}


def test_code_and_fences_grow_with_their_content():
    assert code("a`b") == "``a`b``" and code("`a`") == "`` `a` ``" and code("a\nb") == "`a b`"
    assert fenced("```", "text").startswith("````text\n")
    assert cell("a|b") == "a\\|b" and escaped("<b>*x*") == "\\<b\\>\\*x\\*"


def test_pairs_are_counted_by_style_from_qc(tmp_path):
    given = tables(tmp_path)
    assert data_of(Training(given["pairs"], given["qc"])) == [
        {"set": "rewritten", "corpus": "lines", "style": "detail", "count": 1420},
        {"set": "rewritten", "corpus": "lines", "style": "simple", "count": 77},
    ]


def test_scores_are_this_exports_own_then_its_tasks_then_the_floors(tmp_path):
    given = tables(tmp_path)
    table = scores_of("out", pd.read_parquet(given["headline"]))
    assert table["what"].tolist() == ["export out", "export out - untuned", "on topics", "floor: random"]
    assert table["difference"].tolist() == [False, True, False, False]
    assert table["score"].round(3).tolist() == [0.432, 0.123, 0.492, 0.101]
    assert (table["low"] < table["score"]).all() and (table["score"] < table["high"]).all()


def test_an_unscored_variant_has_no_floors_either(tmp_path):
    given = tables(tmp_path)
    assert scores_of("elsewhere", pd.read_parquet(given["headline"])).empty
