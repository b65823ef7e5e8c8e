"""MTEB scores without importing sentence-transformers, and the scores are the same."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import tiny_tasks
from promptpool.tasks.absent_models import SENTENCE_TRANSFORMERS, absent_models
from promptpool.tasks.encoders import RecordingEncoder
from promptpool.tasks.mteb_tasks import TaskSource, evaluate

NAMES = ["TwentyNewsgroupsClustering.v2", "STSBenchmark", "NFCorpus"]
SCORE = """
import json, sys
import test_absent_models
print(json.dumps([test_absent_models.scores(), "sentence_transformers" in sys.modules]))
"""


def scores() -> dict:
    """MTEB's scores of a task of each kind."""
    found = {}
    for name in NAMES:
        with pytest.MonkeyPatch.context() as patch:
            tiny_tasks.tiny_data(patch, name)
            source = TaskSource("t", {"source": "mteb", "name": name}, None)
            recorder = RecordingEncoder()
            evaluate(recorder, source.fresh())
            texts = list(recorder.texts)
            encoder = tiny_tasks.lookup(texts, tiny_tasks.bag_of_words()(texts))
            found[name] = evaluate(encoder, source.fresh()).scores
    return json.loads(json.dumps(found, sort_keys=True, default=str))


def test_scores_are_the_same_and_nothing_is_imported(monkeypatch):
    """A new process, which has not imported the package, against this one, which has."""
    import sentence_transformers  # noqa: F401

    tests = Path(__file__).parents[2]
    paths = [str(tests.parent / "workflow"), str(tests), str(Path(__file__).parent)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    done = subprocess.run([sys.executable, "-c", SCORE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    own, imported = json.loads(done.stdout.splitlines()[-1])
    assert not imported and own == scores() and all(own[name] for name in NAMES)


def test_the_stand_in_is_there_in_the_block_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, SENTENCE_TRANSFORMERS, raising=False)
    real = find_spec(SENTENCE_TRANSFORMERS)
    with pytest.raises(RuntimeError, match="x"), absent_models():
        stand_in = sys.modules[SENTENCE_TRANSFORMERS]
        assert not isinstance(object(), (stand_in.SentenceTransformer, stand_in.CrossEncoder))
        assert find_spec(SENTENCE_TRANSFORMERS) == real  # others ask whether it is installed
        raise RuntimeError("x")
    assert SENTENCE_TRANSFORMERS not in sys.modules


def test_what_is_imported_stays():
    import sentence_transformers

    with absent_models():
        assert sys.modules[SENTENCE_TRANSFORMERS] is sentence_transformers
    assert sys.modules[SENTENCE_TRANSFORMERS] is sentence_transformers
