"""What follows MTEB's clusterings: the documents are those that MTEB drew, and a change of MTEB's would be noticed."""

from dataclasses import replace

import mteb
import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from promptpool.scoring.replicates import observed
from promptpool.statistics.bootstrap import REPLICATES
from promptpool.statistics.samples import RESAMPLED
from promptpool.tasks.encoders import RecordingEncoder
from promptpool.tasks.mteb_tasks import TaskSource, evaluate
from tiny_tasks import bag_of_words, lookup, tiny_data

FAST = "TwentyNewsgroupsClustering.v2"


@pytest.fixture
def source(monkeypatch) -> TaskSource:
    tiny_data(monkeypatch, FAST)
    spec = {"source": "mteb", "name": FAST, "revision": None, "subsets": None, "splits": None}
    return TaskSource(FAST, spec, None)


def looked_up(source: TaskSource):
    recorder = RecordingEncoder()
    evaluate(recorder, source.fresh())
    return lookup(list(recorder.texts), bag_of_words()(list(recorder.texts)))


def test_what_variants_share_is_kept_and_changes_nothing(source):
    encoder, memory = looked_up(source), {}
    first, second, alone = (observed(encoder, source.fresh(), kept)[1] for kept in (memory, memory, {}))
    assert list(memory) == [("test", "default")]
    place = ("test", "default", "all", RESAMPLED)
    np.testing.assert_array_equal(first[place], second[place])
    np.testing.assert_array_equal(first[place], alone[place])


def test_documents_that_mteb_did_not_draw_give_no_replicates(source, capsys):
    encoder, memory = looked_up(source), {}
    result, _ = observed(encoder, source.fresh(), memory)
    ((place, drawn),) = memory.items()
    memory[place] = replace(drawn, rows=[rows[::-1] for rows in drawn.rows], labels=[own[::-1] for own in drawn.labels])
    _, found = observed(encoder, source.fresh(), memory)
    assert found == {} and "can't be followed" in capsys.readouterr().out
    assert result.get_score() > 0


def legacy(sets: dict) -> tuple:
    task = mteb.get_task("TwentyNewsgroupsClustering")
    task.dataset, task.data_loaded = DatasetDict({"test": Dataset.from_dict(sets)}), True
    texts = sorted({text for own in sets["sentences"] for text in own})
    matrix = np.random.default_rng(0).standard_normal((len(texts), 8)).astype(np.float32)
    return lookup(texts, matrix), task


def test_only_sets_that_share_texts_have_replicates():
    texts = [f"text {number}" for number in range(90)]
    labels = [number % 3 for number in range(90)]
    apart = {"sentences": [texts[:45], texts[45:]], "labels": [labels[:45], labels[45:]]}
    shared = {"sentences": [texts[:60], texts[30:]], "labels": [labels[:60], labels[30:]]}
    assert [key[3] for key in observed(*legacy(apart))[1]] == ["ami"]
    result, found = observed(*legacy(shared))
    values = found["test", "default", "all", RESAMPLED]
    assert values.shape == (REPLICATES,) and abs(values.mean() - result.get_score()) < 3 * values.std()
