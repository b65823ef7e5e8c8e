"""MTEB scores without importing sentence-transformers, and the scores are the same."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from promptpool.tasks.absent_models import SENTENCE_TRANSFORMERS, absent_models

NAMES = ["TwentyNewsgroupsClustering.v2", "STSBenchmark", "NFCorpus"]
SCORE = """
import json, sys
{before}
import pytest
import tiny_tasks
from promptpool.tasks.encoders import RecordingEncoder
from promptpool.tasks.mteb_tasks import TaskSource, evaluate

found = {{}}
for name in {names}:
    patch = pytest.MonkeyPatch()
    tiny_tasks.tiny_data(patch, name)
    source = TaskSource("t", {{"source": "mteb", "name": name}}, None)
    recorder = RecordingEncoder()
    evaluate(recorder, source.fresh())
    texts = list(recorder.texts)
    found[name] = evaluate(tiny_tasks.lookup(texts, tiny_tasks.bag_of_words()(texts)), source.fresh()).scores
    patch.undo()
print(json.dumps([found, "sentence_transformers" in sys.modules], sort_keys=True, default=str))
"""


def scored(before: str = "") -> tuple[dict, bool]:
    """MTEB's scores of a task of each kind in a new process, and whether it had sentence-transformers at its end."""
    code = SCORE.format(names=NAMES, before=before)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=None, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_scores_are_the_same_and_nothing_is_imported(monkeypatch):
    tests = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tests.parent / "workflow"), str(tests)]))
    own, imported = scored()
    real, with_it = scored("import sentence_transformers")
    assert (imported, with_it) == (False, True)
    assert own == real and all(own[name] for name in NAMES)


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
