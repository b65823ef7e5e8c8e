"""Pairs are written shard by shard, judged, tried again, and nothing that a killed job wrote is lost."""

import json

import pandas as pd
import pytest
from promptpool.errors import PromptpoolError
from promptpool.generation.backend import FAULTS, Written
from promptpool.models.checkpoint import Checkpoint
from promptpool.pairs import make_pairs as synthesis
from promptpool.pairs.anchors import pick_anchors
from promptpool.pairs.filters import REASONS
from promptpool.pairs.make_pairs import make_pairs, seed_of, write_shard

FILTERS = {
    "min_words": 2, "max_echo": 0.8, "length_ratio": None, "script": True, "language": False, "refusal": True,
    "leaked": True, "cut": True, "semantic": None,
}  # fmt: skip
SPEC = {
    "corpus": "lines", "column": "text", "styles": ["halves"], "count": None, "seed": 7, "retries": 2, "wording": {},
    "noise": {"deletion": 0.1, "swaps": 1, "characters": 0.05}, "filters": FILTERS,
}  # fmt: skip
WRITES = {
    **SPEC, "styles": ["simple"], "wording": {"simple": {"chat": "Simply: {text}"}}, "backend": "transformers",
    "model": "small", "temperature": 0.7, "max_new_tokens": 8, "top_p": 0.9,
}  # fmt: skip


class Writer:
    """A backend whose answers a function of the request makes; keeps what it was asked."""

    def __init__(self, answer=lambda request: f"the answer number {request.seed} to it"):
        self.answer, self.asked = answer, []

    def write(self, requests, progress=None):
        self.asked += requests
        return [Written(self.answer(request), 5, 3, True) for request in requests]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


def corpus(count: int = 12) -> pd.DataFrame:
    texts = [f"a sentence of some words, number {n}, and no more" for n in range(count)]
    return pd.DataFrame({"id": [f"id{n}" for n in range(count)], "text": texts, "split": "train"})


def anchors(spec=SPEC, table=None) -> pd.DataFrame:
    return pick_anchors(corpus() if table is None else table, spec, "pairs.mine")


def run(tmp_path, spec, monkeypatch=None, writer=None, table=None, model=None, **more) -> pd.DataFrame:
    (corpus() if table is None else table).to_parquet(tmp_path / "corpus.parquet")
    if writer:
        monkeypatch.setattr(synthesis, "open_backend", lambda *a, **k: writer)
    make_pairs(
        str(tmp_path / "corpus.parquet"), str(tmp_path / "written.parquet"), name="mine", spec=spec,
        writer=model or Checkpoint("writer"), shard_size=5, **more,
    )  # fmt: skip
    return pd.read_parquet(tmp_path / "written.parquet")


# --- anchors ---------------------------------------------------------------------------------------


def test_a_larger_count_adds_anchors_behind_and_changes_none():
    few, many = anchors({**SPEC, "count": 5}), anchors({**SPEC, "count": 9})
    assert many.head(5).equals(few)
    assert len(anchors()) == 12


def test_another_seed_draws_others():
    assert anchors({**SPEC, "count": 4})["text"].tolist() != anchors({**SPEC, "count": 4, "seed": 8})["text"].tolist()


def test_each_text_gets_one_of_the_styles_by_seed_alone():
    spec = {**SPEC, "styles": ["halves", "identity", "word-swap"]}
    table = anchors(spec, corpus(300))
    assert table["style"].value_counts().min() > 70
    turned = anchors(spec, corpus(300).iloc[::-1])
    assert turned.set_index("source_id")["style"].to_dict() == table.set_index("source_id")["style"].to_dict()


def test_only_training_rows_are_anchors_each_text_once():
    table = corpus(6).assign(split=["train"] * 4 + ["task"] * 2)
    table.loc[1, "text"] = table.loc[0, "text"]
    table.loc[2, "text"] = "  "
    assert sorted(anchors(table=table)["source_id"]) == ["id0", "id3"]


def test_a_corpus_with_nothing_to_train_on_and_a_missing_column_are_told():
    with pytest.raises(PromptpoolError, match=r"pairs\.mine: corpus 'lines' has no text to train on; fix the corpus"):
        anchors(table=corpus().assign(split="task"))
    with pytest.raises(PromptpoolError, match=r"pairs\.mine: the corpus has no column 'summary'; it has id, text"):
        anchors({**SPEC, "column": "summary"})
    with pytest.raises(PromptpoolError, match=r"name their column in corpora\.lines\.positive"):
        anchors({**SPEC, "styles": ["dataset"]})


def test_a_text_keeps_every_positive_that_a_data_set_gives_it():
    table = corpus(2).assign(text="the same text", positive=["first one", "second one"])
    assert len(anchors({**SPEC, "styles": ["dataset"]}, table)) == 2
    assert len(anchors({**SPEC, "styles": ["identity"]}, table)) == 1


# --- styles without a language model -----------------------------------------------------------------


@pytest.mark.parametrize("style", ["halves", "identity", "dataset", "word-deletion", "word-swap", "character-noise"])
def test_styles_without_a_language_model_write_fit_pairs_and_ask_nobody(tmp_path, style):
    table = corpus().assign(positive=[f"what follows from sentence {n}" for n in range(12)])
    rows = run(tmp_path, {**SPEC, "styles": [style]}, table=table)
    assert rows["reason"].isna().all() and len(rows) == 12
    assert (rows["tokens"] == 0).all() and (rows["positive"].str.len() > 5).all()
    assert (rows["text"] == rows["positive"]).all() == (style == "identity")


def test_quotes_newlines_long_texts_and_all_of_unicode_survive_unharmed(tmp_path):
    texts = ['"quoted", with\nnewlines\r\n\tand tabs', "العربية مع 🇨🇭 and é", "nul \0 inside", "x" * 100_000]
    table = corpus(4).assign(text=texts)
    rows = run(tmp_path, {**SPEC, "styles": ["identity"]}, table=table)
    assert sorted(rows["positive"]) == sorted(rows["text"]) == sorted(texts)
    assert rows["reason"].isna().all()


# --- what a language model is asked ----------------------------------------------------------------------


def test_a_request_carries_the_wording_the_text_and_a_seed_of_its_own():
    writer = Writer()
    rows = write_shard(anchors(WRITES), WRITES, writer)
    assert [request.text for request in writer.asked] == [f"Simply: {text}" for text in rows["text"]]
    assert all(request.chat for request in writer.asked)
    assert len({request.seed for request in writer.asked}) == len(rows)
    assert rows[["prompt_tokens", "tokens"]].drop_duplicates().to_numpy().tolist() == [[5, 3]]


def test_seeds_do_not_hang_on_order_or_shards(tmp_path, monkeypatch):
    writer = Writer()
    run(tmp_path, WRITES, monkeypatch, writer)
    alone = Writer()
    write_shard(anchors(WRITES).iloc[::-1], WRITES, alone)
    assert {(r.text, r.seed) for r in writer.asked} == {(r.text, r.seed) for r in alone.asked}


def test_braces_in_a_text_are_not_filled():
    table = corpus(1).assign(text="a {text} with {pivot} in braces {0}")
    writer = Writer()
    write_shard(anchors(WRITES, table), WRITES, writer)
    assert writer.asked[0].text == "Simply: a {text} with {pivot} in braces {0}"


def test_a_style_of_two_turns_is_given_its_own_answer():
    spec = {**WRITES, "styles": ["back"], "wording": {"back": {"turns": ["Out: {text}", "Back: {text}"]}}}
    writer = Writer(lambda r: f"de-{len(r.text)} hin" if r.text.startswith("Out") else "it came back " + r.text[6:])
    rows = write_shard(anchors(spec, corpus(3)), spec, writer)
    assert [r.text[:4] for r in writer.asked] == ["Out:"] * 3 + ["Back"] * 3
    assert rows["positive"].str.fullmatch(r"it came back de-\d+ hin").all()
    assert (rows["tokens"] == 6).all()


def test_an_empty_first_answer_is_not_sent_back():
    spec = {**WRITES, "retries": 0, "wording": {"simple": {"turns": ["Out: {text}", "Back: {text}"]}}}
    writer = Writer(lambda r: " ")
    rows = write_shard(anchors(spec, corpus(3)), spec, writer)
    assert len(writer.asked) == 3 and set(rows["reason"]) == {"empty"}


def test_styles_of_one_shard_are_asked_together_and_text_styles_not_at_all():
    spec = {**WRITES, "styles": ["simple", "word-swap", "more"],
            "wording": {**WRITES["wording"], "more": {"plain": "{text} More:"}}}  # fmt: skip
    table = anchors(spec, corpus(60))
    writer = Writer()
    rows = write_shard(table, spec, writer)
    counts = table["style"].value_counts()
    assert len(writer.asked) == counts["simple"] + counts["more"]
    assert sum(request.chat for request in writer.asked) == counts["simple"]
    assert rows["source_id"].tolist() == table["source_id"].tolist()


# --- trying again -------------------------------------------------------------------------------------------


def test_an_unfit_positive_is_written_again_with_another_seed_and_costs_its_batch_nothing():
    table = anchors(WRITES)
    unlucky = {seed_of(7, "simple:0", text, 1) for text in table["text"].iloc[[2, 5]]}
    writer = Writer(lambda r: "" if r.seed in unlucky else f"a fit answer {r.seed}")
    rows = write_shard(table, WRITES, writer)
    assert rows["reason"].isna().all()
    assert rows["attempts"].tolist() == [1, 1, 2, 1, 1, 2, *[1] * 6]
    assert len(writer.asked) == 14 and rows["tokens"].sum() == 14 * 3  # failed tries are counted
    assert len({(request.text, request.seed) for request in writer.asked}) == 14


def test_after_the_last_try_the_row_is_kept_with_its_reason():
    writer = Writer(lambda r: "word" if "number 3," in r.text else f"a fit answer {r.seed}")
    rows = write_shard(anchors(WRITES), WRITES, writer)
    bad = rows[rows["reason"].notna()]
    assert (len(rows), len(bad)) == (12, 1)
    assert bad.iloc[0][["reason", "attempts", "positive"]].tolist() == ["short", 3, "word"]


@pytest.mark.parametrize("change", [{"temperature": 0}, {"retries": 0}])
def test_what_can_only_come_out_the_same_is_not_tried_again(change):
    writer = Writer(lambda r: "word")
    rows = write_shard(anchors(WRITES), {**WRITES, **change}, writer)
    assert len(writer.asked) == 12 and set(rows["attempts"]) == {1}


def test_a_set_without_one_fit_pair_is_told(tmp_path, monkeypatch):
    with pytest.raises(PromptpoolError, match=r"pairs\.mine: no pair passed the filters, most often 'short'; change"):
        run(tmp_path, WRITES, monkeypatch, Writer(lambda r: "word"))
    assert not (tmp_path / "written.parquet").exists()


# --- shards -------------------------------------------------------------------------------------------------


class Killed(Writer):
    """Dies while it writes the second shard."""

    def write(self, requests, progress=None):
        if len(self.asked) >= 5:
            raise KeyboardInterrupt
        return super().write(requests, progress)


def test_a_killed_run_repeats_unfinished_shards_only_and_ends_with_the_same(tmp_path, monkeypatch):
    (tmp_path / "whole").mkdir()
    whole = run(tmp_path / "whole", WRITES, monkeypatch, Writer())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, WRITES, monkeypatch, Killed())
    assert len([*tmp_path.glob("shards/*/*.parquet")]) == 1
    writer = Writer()
    resumed = run(tmp_path, WRITES, monkeypatch, writer)
    assert len(writer.asked) == 7  # 12 texts, one shard of 5 finished
    assert resumed.drop(columns="seconds").equals(whole.drop(columns="seconds"))
    assert resumed["source_id"].is_unique


def test_nobody_is_asked_when_all_shards_are_there_and_a_larger_count_asks_for_the_rest(tmp_path, monkeypatch):
    run(tmp_path, {**WRITES, "count": 5}, monkeypatch, Writer())
    monkeypatch.setattr(synthesis, "open_backend", None)  # calling it would fail
    run(tmp_path, {**WRITES, "count": 5})
    writer = Writer()
    run(tmp_path, {**WRITES, "count": 12}, monkeypatch, writer)
    assert len(writer.asked) == 7


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {**WRITES, "temperature": 0.9}},
        {"spec": {**WRITES, "filters": {**FILTERS, "min_words": 3}}},
        {"spec": {**WRITES, "wording": {"simple": {"chat": "Plainly: {text}"}}}},
        {"code": ["another"]},
        {"table": corpus().assign(text=[f"another corpus altogether, line {n}" for n in range(12)])},
        {"model": Checkpoint("owner/other", "abc")},
    ],
    ids=["temperature", "filter", "wording", "code", "corpus", "model"],
)
def test_shards_of_other_settings_are_not_taken_and_then_go(tmp_path, monkeypatch, change):
    run(tmp_path, WRITES, monkeypatch, Writer())
    old = set(tmp_path.glob("shards/*/*.parquet"))
    writer = Writer()
    run(tmp_path, **{"spec": WRITES, "monkeypatch": monkeypatch, "writer": writer, **change})
    assert len(writer.asked) == 12
    left = set(tmp_path.glob("shards/*/*.parquet"))
    assert len({path.parent for path in left}) == 1
    assert "table" in change or not old & left


def test_a_half_written_shard_is_swept_and_written_anew(tmp_path, monkeypatch):
    run(tmp_path, WRITES, monkeypatch, Writer())
    shard = sorted(tmp_path.glob("shards/*/*.parquet"))[1]
    half = shard.with_name(f".{shard.name}.123.tmp.parquet")
    half.write_bytes(shard.read_bytes()[:100])
    shard.unlink()
    writer = Writer()
    assert len(run(tmp_path, WRITES, monkeypatch, writer)) == 12
    assert len(writer.asked) == 5 and not half.exists()


def test_distant_positives_go_for_what_they_mean(tmp_path, monkeypatch):
    spec = {**WRITES, "filters": {**FILTERS, "semantic": {"model": "m", "min": 0.5}}}
    seen = []

    def closeness(texts, positives):
        seen.append((texts, positives))
        return pd.Series([0.9] * 11 + [0.4]).to_numpy()

    rows = run(tmp_path, spec, monkeypatch, Writer(), closeness=closeness)
    assert rows["reason"].isna().tolist() == [True] * 11 + [False] and rows["reason"].iloc[11] == "semantic"
    assert len(seen) == 1 and seen[0][0] == rows["text"].tolist()


def test_the_sidecar_says_what_wrote_the_pairs(tmp_path, monkeypatch):
    run(tmp_path, WRITES, monkeypatch, Writer(), model=Checkpoint("owner/name", "abc"))
    told = json.loads((tmp_path / "written.parquet.meta.json").read_text())
    assert (told["model_identity"], told["rows"], told["seed"]) == ("owner/name@abc", 12, 7)
    assert told["spec"]["wording"] == WRITES["wording"]


# --- what a backend could not write -------------------------------------------------------------------


class Faulty(Writer):
    """Has what `faults` gives for a text's request; writes the others."""

    def __init__(self, faults):
        super().__init__()
        self.faults = faults

    def write(self, requests, progress=None):
        found = super().write(requests, progress)
        return [self.faults(request) or answer for request, answer in zip(requests, found, strict=True)]


def fault(reason: str, settled: bool):
    return lambda r: Written("", 0, 0, False, reason, settled) if "number 3," in r.text else None


@pytest.mark.parametrize("reason", ["too-long", "refused", "filtered", "failed"])
def test_a_refused_row_has_its_own_reason_and_is_never_asked_for_again(tmp_path, monkeypatch, reason):
    unfit = anchors(WRITES)["text"].iloc[2]

    def writer() -> Faulty:
        return Faulty(lambda r: Written("", 0, 0, False, reason, settled=True) if unfit in r.text else None)

    rows = run(tmp_path, {**WRITES, "count": 10}, monkeypatch, writer())
    bad = rows[rows["reason"].notna()]
    assert bad[["text", "reason", "attempts", "positive"]].to_numpy().tolist() == [[unfit, reason, 1, ""]]
    later = writer()
    again = run(tmp_path, WRITES, monkeypatch, later)  # a larger set: what was refused stays refused
    assert again["reason"].value_counts().to_dict() == {reason: 1} and len(again) == 12
    assert len(later.asked) == 2
    assert reason in REASONS


def test_an_answer_that_was_filtered_or_thought_away_is_asked_for_with_other_seeds():
    unlucky = []

    def faults(request):
        if "number 3," in request.text and len(unlucky) < 2:
            unlucky.append(request.seed)
            return Written("", 5, 8, False, "thinking")
        return None

    rows = write_shard(anchors(WRITES), WRITES, Faulty(faults))
    assert rows["reason"].isna().all() and rows["attempts"].max() == 3 and len(set(unlucky)) == 2


def test_after_its_last_try_a_thinking_row_is_rejected_as_such():
    writer = Faulty(lambda r: Written("", 5, 8, False, "thinking") if "number 3," in r.text else None)
    rows = write_shard(anchors(WRITES), WRITES, writer)
    bad = rows[rows["reason"].notna()]
    assert bad[["reason", "attempts", "cut"]].to_numpy().tolist() == [["thinking", 3, True]]
    assert [request.again for request in writer.asked] == [False] * 12 + [True, True]


def test_a_first_turn_without_an_answer_has_no_second():
    spec = {**WRITES, "wording": {"simple": {"turns": ["Out: {text}", "Back: {text}"]}}}
    writer = Faulty(fault("filtered", settled=True))
    rows = write_shard(anchors(spec), spec, writer)
    assert rows["reason"].value_counts().to_dict() == {"filtered": 1}
    assert len(writer.asked) == 12 + 11


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("the oven is hot and the bread", "cut"),
        ("the oven is hot. The bread", "cut"),
        ("the oven is hot, the bread,", "cut"),
        ("the oven is hot and it bakes.", None),
        ('it says: "the oven is hot."', None),
        ("is the oven hot?*", None),
        ("the oven is hot (and it bakes.)", None),
    ],
)
def test_a_positive_that_is_cut_in_mid_sentence_is_rejected_unless_the_study_keeps_it(text, reason):
    cut = Faulty(lambda r: Written(text, 5, 8, False))
    spec = {**WRITES, "retries": 0}
    assert set(write_shard(anchors(spec), spec, cut)["reason"]) == {reason}
    kept = {**spec, "filters": {**FILTERS, "cut": False}}
    rows = write_shard(anchors(kept), kept, cut)
    assert rows["reason"].isna().all() and rows["cut"].all()
    whole = write_shard(anchors(spec), spec, Writer(lambda r: text))
    assert whole["reason"].isna().all() and not whole["cut"].any()


def test_a_plain_continuation_has_no_end_to_be_cut_before():
    spec = {**WRITES, "wording": {"simple": {"plain": "{text} More:"}}}
    rows = write_shard(anchors(spec), spec, Faulty(lambda r: Written("the oven is hot and", 5, 8, False)))
    assert rows["reason"].isna().all() and rows["cut"].all()


def test_a_first_turn_that_is_cut_counts():
    spec = {**WRITES, "retries": 0, "wording": {"simple": {"turns": ["Out: {text}", "Back: {text}"]}}}
    answer = lambda r: Written("zurück und dann", 5, 8, False) if r.text.startswith("Out") else None  # noqa: E731
    rows = write_shard(anchors(spec), spec, Faulty(answer))
    assert rows["cut"].all() and set(rows["reason"]) == {"cut"}


@pytest.mark.parametrize(
    ("reason", "mend"),
    [
        ("thinking", "switch the model's thinking off, or raise max_new_tokens"),
        ("too-long", "take shorter texts, or a model with a longer context"),
        ("refused", "look at the server's answers in the log, or take other texts"),
    ],
)
def test_a_set_without_one_answer_names_the_mend(tmp_path, monkeypatch, reason, mend):
    writer = Faulty(lambda r: Written("", 0, 0, False, reason, settled=True))
    with pytest.raises(PromptpoolError) as caught:
        run(tmp_path, WRITES, monkeypatch, writer)
    assert str(caught.value) == f"pairs.mine: no pair passed the filters, most often {reason!r}; {mend}"


def test_every_fault_of_a_backend_has_its_place_among_the_reasons():
    assert set(FAULTS) <= set(REASONS)


def test_a_sets_sidecar_says_in_what_and_on_what_it_was_written(tmp_path, monkeypatch):
    writer = Writer()
    writer.facts = {"device": "cpu", "precision": "float32", "processor": "a CPU"}
    run(tmp_path, WRITES, monkeypatch, writer)
    (told,) = [json.loads(path.read_text()) for path in tmp_path.rglob("*.meta.json") if "writer" in path.read_text()]
    assert told["writer"] == writer.facts


def test_a_server_that_refuses_all_is_not_remembered_for_it(tmp_path, monkeypatch):
    class Ended(Faulty):
        def write(self, requests, progress=None):
            if len(self.asked) >= 5:
                raise PromptpoolError("too many in a row")
            return super().write(requests, progress)

    with pytest.raises(PromptpoolError, match="too many"):
        run(tmp_path, WRITES, monkeypatch, Ended(lambda r: Written("", 0, 0, False, "refused", settled=True)))
    writer = Writer()
    assert run(tmp_path, WRITES, monkeypatch, writer)["reason"].isna().all() and len(writer.asked) == 12
