"""Pairs: anchors from the training rows alone, every rejection counted by its reason, the same again by seed."""

import json

import pandas as pd
import pytest
from promptpool.errors import PromptpoolError
from promptpool.filters import REASONS, first_uses, rejection
from promptpool.generation import open_backend
from promptpool.overlap import check_overlap
from promptpool.styles import halves
from promptpool.synthesis import judge, make_pairs, pick_anchors, positives
from tiny import tiny_model
from tiny_study import sentences

LIMITS = {"min_words": 4, "max_echo": 0.8}
SPEC = {
    "corpus": "lines", "style": "halves", "column": "text", "count": None, "seed": 7, "backend": "transformers",
    "max_new_tokens": 8, "temperature": 0.7, "top_p": 0.9, "batch_size": 4, "min_words": 1, "max_echo": 0.8,
}  # fmt: skip


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """A corpus of 60 sentences, a third of them the task's."""
    rows = sentences(5, 20)[["text"]].reset_index(drop=True)
    rows["split"] = ["task" if number % 3 == 0 else "train" for number in range(len(rows))]
    rows["id"] = [f"row-{number}" for number in range(len(rows))]
    return rows


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("writer") / "model", initializer_range=0.1)


def made(table: pd.DataFrame, folder, model=None, **changes: object) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    folder.mkdir(parents=True, exist_ok=True)
    table.to_parquet(folder / "corpus.parquet")
    out, rejected, qc = (str(folder / name) for name in ("pairs.parquet", "rejected.parquet", "qc.json"))
    make_pairs(
        str(folder / "corpus.parquet"), out, rejected, qc, name="mine", spec={**SPEC, **changes},
        model=model and str(model), device="cpu",
    )  # fmt: skip
    return pd.read_parquet(out), pd.read_parquet(rejected), json.loads((folder / "qc.json").read_text())


@pytest.mark.parametrize(
    ("positive", "reason"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        ("... !?", "empty"),
        ("only three words", "short"),
        ("The graph has four nodes, and six edges", "echo"),
        ("the  GRAPH has four nodes and six edges!", "echo"),
        ("the graph has four nodes and six edge", "echo"),
        ("go on go on go on go on go on go on", "repeats"),
        ("a wholly different sentence about the oven", None),
    ],
)
def test_each_fault_has_its_reason(positive, reason):
    assert rejection("The graph has four nodes and six edges.", positive, **LIMITS) == reason


def test_the_first_use_of_a_positive_is_kept_and_the_next_is_a_duplicate():
    pairs = pd.DataFrame({
        "text": ["first anchor of the three", "second anchor of them all", "third and last of the anchors"],
        "positive": ["the oven was hot enough", "The oven was hot enough!", "the harbour lay in fog"],
    })  # fmt: skip
    assert judge(pairs, {**SPEC, "style": "continue"}).tolist() == [None, "duplicate", None]
    assert first_uses(["A b", "a  B.", "c"]) == [True, False, True]


def test_every_reason_is_named_once():
    assert sorted(set(REASONS)) == sorted(REASONS) == ["duplicate", "echo", "empty", "repeats", "short"]


def test_one_bad_row_drops_no_other(table, tmp_path):
    spoilt = table.copy()
    spoilt.loc[1, "text"] = "word"  # no second half
    good, bad, _ = made(spoilt, tmp_path)
    assert bad[["source_id", "reason"]].values.tolist() == [["row-1", "empty"]]
    assert len(good) == (spoilt["split"] == "train").sum() - 1


def test_what_is_accepted_and_rejected_is_what_was_asked_for(table, tmp_path):
    good, bad, qc = made(table, tmp_path, count=30, min_words=5)
    assert len(good) + len(bad) == qc["asked"] == 30
    assert qc["accepted"] == len(good) > 0
    assert sum(qc["rejected"].values()) == len(bad) > 0
    assert set(good["source_id"]).isdisjoint(bad["source_id"])


def test_pairs_have_the_columns_that_training_reads(table, tmp_path):
    good, bad, qc = made(table, tmp_path)
    assert list(good.columns) == ["text", "positive", "style", "source_id"]
    assert list(bad.columns) == ["text", "positive", "style", "source_id", "reason"]
    assert sum(qc["words"]["positive"].values()) == len(good) and 0 < qc["distinct_2"] <= 1


def test_anchors_come_from_training_rows_alone(table):
    anchors = pick_anchors(table, SPEC, "pairs.mine")
    assert set(anchors["source_id"]) == set(table.loc[table["split"] == "train", "id"])


def test_fewer_anchors_are_the_first_of_many(table):
    few, many = (pick_anchors(table, {**SPEC, "count": count}, "pairs.mine") for count in (5, 20))
    assert few.equals(many.head(5))


def test_another_seed_picks_other_anchors(table):
    one, other = (set(pick_anchors(table, {**SPEC, "count": 10, "seed": s}, "x")["source_id"]) for s in (1, 2))
    assert one != other


def test_a_column_that_the_corpus_lacks_is_named(table):
    with pytest.raises(PromptpoolError, match=r"pairs\.mine: the corpus has no column 'summary'; it has text, split"):
        pick_anchors(table, {**SPEC, "column": "summary"}, "pairs.mine")


def test_a_corpus_without_a_training_row_is_named(table):
    with pytest.raises(PromptpoolError, match="has no text to train on"):
        pick_anchors(table.assign(split="task"), SPEC, "pairs.mine")


def test_no_accepted_pair_is_an_error_that_names_the_commonest_reason(table, tmp_path):
    with pytest.raises(PromptpoolError, match=r"pairs\.mine: no pair passed the filters, most often 'short'"):
        made(table, tmp_path, min_words=100)
    assert not (tmp_path / "pairs.parquet").exists()


def test_halves_of_a_lone_text_are_its_two_halves():
    assert halves("one two three four five", "one two three four five") == ("one two three", "four five")


def test_halves_of_a_summary_are_it_and_the_rest_of_its_document():
    document = "The summary.\n\nThe body of  the text.\n\nMore."
    assert halves("The summary.", document) == ("The summary.", "The body of the text. More.")


def test_a_half_is_at_most_sixty_words():
    assert len(halves("Short.", "Short.\n\n" + "word " * 500)[1].split()) == 60


def test_identity_pairs_are_the_text_twice(table):
    anchors = pick_anchors(table, {**SPEC, "style": "identity"}, "pairs.mine")
    pairs = positives(anchors, {**SPEC, "style": "identity"}, None)
    assert (pairs["text"] == pairs["positive"]).all()
    assert judge(pairs, {**SPEC, "style": "identity"}).isna().all()


def test_the_same_spec_writes_the_same_pairs(table, model, tmp_path):
    first, again = (made(table, tmp_path / str(n), model, style="continue", count=12)[0] for n in (1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert first["positive"].nunique() > 6


def test_another_seed_writes_other_pairs(table, model, tmp_path):
    anchors = pick_anchors(table, {**SPEC, "style": "continue", "count": 8}, "pairs.mine")
    written = []
    for seed in (7, 8):
        spec = {**SPEC, "style": "continue", "seed": seed}
        with open_backend("transformers", str(model), None, spec, spec, device="cpu", needs_chat=False) as writer:
            written.append(positives(anchors, spec, writer)["positive"])
    assert (written[0] != written[1]).mean() > 0.9


def test_a_chat_style_without_a_chat_template_is_refused_in_one_line(table, model, tmp_path):
    with pytest.raises(PromptpoolError) as caught:
        made(table, tmp_path, model, style="simple", count=4)
    told = str(caught.value)
    assert "no chat template" in told and "style continue" in told and "\n" not in told


def overlap(tmp_path, texts: list[str]) -> dict:
    pairs = pd.DataFrame({"text": ["the oven is hot"], "positive": ["bread is baked in it"]})
    pairs.to_parquet(tmp_path / "pairs.parquet")
    pd.DataFrame({"text": texts}).to_parquet(tmp_path / "texts.parquet")
    check_overlap(str(tmp_path / "pairs.parquet"), [str(tmp_path / "texts.parquet")], str(tmp_path / "out.json"))
    return json.loads((tmp_path / "out.json").read_text())


def test_pairs_apart_from_the_tasks_pass(tmp_path):
    assert overlap(tmp_path, ["the harbour", "the oven is"]) == {"pairs": 1, "task_texts": 2, "overlap": 0}


@pytest.mark.parametrize("text", ["the oven is hot", "The  oven is HOT!", "Bread is baked, in it."])
def test_a_shared_text_is_named_whatever_its_case_and_punctuation(tmp_path, text):
    with pytest.raises(PromptpoolError, match=r"1 training texts are also task texts, the first '(the oven|bread)"):
        overlap(tmp_path, ["the harbour", text])
    assert not (tmp_path / "out.json").exists()
