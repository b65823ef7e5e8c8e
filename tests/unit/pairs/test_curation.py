"""Which written pairs are kept, and what is told of them."""

import json

import pandas as pd
import pytest
from promptpool.artifacts.files import file_digest, write_sidecar
from promptpool.errors import PromptpoolError
from promptpool.pairs.check_training_data import check_training_data
from promptpool.pairs.qc import distinct, quality, similarity
from promptpool.pairs.select_pairs import select_pairs

SPEC = {"near_duplicate": 0.9, "contamination": {"near": 0.8, "action": "remove"}}
TASK_TEXT = "the harbour master counts every ship that comes in before the evening tide"


def rows(*pairs: tuple[str, str], **more) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "text": [text for text, _ in pairs], "positive": [positive for _, positive in pairs], "style": "simple",
            "source_id": [f"s{n}" for n in range(len(pairs))], "reason": None, "attempts": 1, "prompt_tokens": 10,
            "tokens": 4, "cut": False, "seconds": 0.5, **more,
        }
    )  # fmt: skip


def select(tmp_path, table, tasks=(TASK_TEXT,), **changes):
    table.to_parquet(tmp_path / "written.parquet")
    pd.DataFrame({"text": tasks}).to_parquet(tmp_path / "texts.parquet")
    out = [str(tmp_path / name) for name in ("pairs.parquet", "rejected.parquet", "qc.json")]
    select_pairs(
        str(tmp_path / "written.parquet"), {"ships": str(tmp_path / "texts.parquet")}, *out, name="mine",
        spec={**SPEC, **changes},
    )  # fmt: skip
    return pd.read_parquet(out[0]), pd.read_parquet(out[1]), json.loads((tmp_path / "qc.json").read_text())


GOOD = [
    ("the oven is hot", "bread is baked at a high temperature in it"),
    ("a melody in two voices", "two tunes are sung together, each its own way"),
    ("the keel keeps a boat upright", "without its keel every sailing boat would fall over"),
]


def test_what_was_judged_unfit_stays_so_and_the_rest_is_kept(tmp_path):
    table = rows(*GOOD)
    table.loc[1, "reason"] = "echo"
    pairs, rejected, qc = select(tmp_path, table)
    assert list(pairs.columns) == ["text", "positive", "style", "source_id"]
    assert pairs["source_id"].tolist() == ["s0", "s2"]
    assert rejected[["source_id", "reason"]].to_numpy().tolist() == [["s1", "echo"]]
    assert (qc["asked"], qc["accepted"], qc["rejected"]) == (3, 2, {"echo": 1})


@pytest.mark.parametrize(
    "pair",
    [
        (TASK_TEXT, "ships are counted here until the sun goes down"),
        ("ships are counted here", TASK_TEXT.upper() + "!"),
        ("ships are counted", TASK_TEXT.replace("evening", "evening's")),
        (f"In a small town {TASK_TEXT} and then goes home.", "he counts ships all day long in the town"),
    ],
    ids=["as text", "as positive, in capitals", "nearly", "inside"],
)
def test_a_tasks_text_is_taken_out_wherever_it_stands(tmp_path, pair):
    pairs, rejected, qc = select(tmp_path, rows(*GOOD, pair))
    assert len(pairs) == 3 and rejected["reason"].tolist() == ["contaminated"]
    assert qc["contamination"]["tasks"] == {"ships": 1}
    assert qc["contamination"]["exact"] + qc["contamination"]["near"] == 1


def test_a_run_can_be_told_to_fail_on_contamination(tmp_path):
    with pytest.raises(PromptpoolError) as caught:
        select(tmp_path, rows(*GOOD, (TASK_TEXT, "x y z")), contamination={"near": 0.8, "action": "fail"})
    told = str(caught.value)
    assert "pairs.mine: 1 pairs hold a task's text" in told and "task ships" in told and "\n" not in told
    assert not (tmp_path / "pairs.parquet").exists()


def test_texts_that_only_share_words_are_no_contamination(tmp_path):
    other = ("the harbour is closed", "no ship comes in before the morning, says the harbour master")
    assert len(select(tmp_path, rows(*GOOD, other))[0]) == 4


def test_of_positives_that_are_the_same_or_nearly_so_the_first_is_kept(tmp_path):
    long = "bread is baked at a high temperature in it and it must stay there for almost an hour until it is brown"
    table = rows(*GOOD, ("an oven", GOOD[0][1].upper()), ("a", long + " and done"), ("b", long + " and gone"))
    pairs, _, qc = select(tmp_path, table, near_duplicate=0.7)
    assert pairs["source_id"].tolist() == ["s0", "s1", "s2", "s4"]
    assert qc["rejected"] == {"duplicate": 1, "near-duplicate": 1}
    assert len(select(tmp_path, table, near_duplicate=None)[0]) == 5


def test_a_set_with_nothing_left_is_told(tmp_path):
    with pytest.raises(PromptpoolError, match=r"pairs\.mine: every pair was a duplicate or a task's text"):
        select(tmp_path, rows((TASK_TEXT, "ships")))


def test_equal_input_gives_equal_files(tmp_path):
    select(tmp_path, rows(*GOOD))
    first = file_digest(tmp_path / "pairs.parquet")
    select(tmp_path, rows(*GOOD), tasks=[TASK_TEXT, "another text of a new task"])
    assert file_digest(tmp_path / "pairs.parquet") == first


def test_qc_counts_by_style_and_adds_up():
    table = rows(*GOOD, ("one two", "three"))
    table["style"] = ["simple", "simple", "detail", "detail"]
    table.loc[3, ["reason", "attempts"]] = ["short", 3]
    qc = quality(table, {})
    assert {style: (part["asked"], part["accepted"]) for style, part in qc["styles"].items()} == {
        "simple": (2, 2), "detail": (2, 1),
    }  # fmt: skip
    assert qc["attempts"] == {"1": 3, "3": 1}
    assert qc["tokens"] == {"prompt": 40, "written": 16} and qc["tokens_per_second"] == 8.0
    assert qc["styles"]["simple"]["words"]["text"] == {"4": 1, "5": 1}
    for part in qc["styles"].values():
        assert sum(part["similarity"].values()) == part["accepted"] == sum(part["words"]["positive"].values())


def test_qc_of_a_set_without_a_language_model_has_no_tokens():
    qc = quality(rows(*GOOD, tokens=0, prompt_tokens=0), {})
    assert qc["tokens"] is None and qc["tokens_per_second"] is None


def test_similarity_and_distinct_n_by_hand():
    assert similarity("The oven!", "the oven") == 1
    assert similarity("abc", "xyz") == 0
    assert distinct([["a", "b", "a"], ["a", "b"]], 1) == 0.4
    assert distinct([["a", "b", "a"], ["a", "b"]], 2) == round(2 / 3, 4)
    assert distinct([["a"]], 2) == 0


LEARNED = {"lora": {"rank": 4}, "steps": [1]}


def trained(tmp_path, learned: pd.DataFrame, now: pd.DataFrame, tasks=("an unheard text of a task",), **spec: object):
    pairs, adapter, texts = tmp_path / "pairs.parquet", tmp_path / "tuned", tmp_path / "texts.parquet"
    learned.drop(columns="reason").to_parquet(pairs)
    adapter.mkdir()
    write_sidecar(adapter, inputs=[str(pairs)], spec=LEARNED)
    now.drop(columns="reason").to_parquet(pairs)
    pd.DataFrame({"text": tasks}).to_parquet(texts)
    check_training_data(
        str(adapter), [str(pairs)], {"ships": str(texts)}, str(tmp_path / "out.json"), spec={**LEARNED, **spec},
        near=[0.8],
    )  # fmt: skip


def test_an_adapter_of_these_very_pairs_and_settings_passes(tmp_path):
    trained(tmp_path, rows(*GOOD), rows(*GOOD))
    assert json.loads((tmp_path / "out.json").read_text())["task_texts"] == 1


@pytest.mark.parametrize("change", [{"now": rows(*GOOD[:2])}, {"lora": {"rank": 8}}], ids=["pairs", "settings"])
def test_an_adapter_of_other_pairs_or_settings_is_named(tmp_path, change):
    with pytest.raises(PromptpoolError, match=r"tuned: trained with other settings or pairs than now; run the same"):
        trained(tmp_path, rows(*GOOD), **{"now": rows(*GOOD), **change})


def test_a_task_that_came_later_and_was_learned_from_is_told_with_the_mend(tmp_path):
    seen = rows(*GOOD, (TASK_TEXT, "ships"))
    with pytest.raises(PromptpoolError) as caught:
        trained(tmp_path, seen, seen, tasks=[TASK_TEXT])
    told = str(caught.value)
    assert "1 pairs hold a text of task ships" in told and "remove that file" in told and "\n" not in told
    assert not (tmp_path / "out.json").exists()


def test_cut_positives_and_a_backends_faults_are_counted_by_style(tmp_path):
    table = rows(*GOOD, ("a first", ""), ("a second", ""), style=["simple", "simple", "detail", "detail", "detail"])
    table.loc[3:, "reason"] = ["filtered", "thinking"]
    table["cut"] = [True, False, False, False, True]
    _, rejected, qc = select(tmp_path, table)
    assert (qc["rejected"], qc["cut"]) == ({"filtered": 1, "thinking": 1}, {"written": 2, "accepted": 1})
    assert qc["styles"]["detail"]["cut"] == {"written": 1, "accepted": 0}
    assert qc["styles"]["simple"]["cut"] == {"written": 1, "accepted": 1}
    assert rejected[["reason", "cut"]].to_numpy().tolist() == [["filtered", False], ["thinking", True]]
