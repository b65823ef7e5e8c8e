"""What the scripts of a real run enter is what their rules' digests hold."""

from collections import defaultdict

import pytest
from code_edits import stages
from promptpool.runtime.code_digest import UNCOUNTED, computations

pytestmark = pytest.mark.workflow
# Entered for a sidecar, a log's line or an error alone, by the study for its paths, or by an import of a sub-package.
SAID = {
    ("data.tables", "in_and_out"), ("pairs.make_pairs", "writer_of"), ("", "__getattr__"),
    ("embedding.embed_checkpoint", "example"), ("models.precision", "processor"), ("models.precision", "in_words"),
    ("embedding.parallel_embedder", "run_facts"),
    ("models.precision", "training_precision"), ("variants", "key_text"), ("variants", "layer_name"),
    ("templates", "families"), ("templates", "family_name"), ("templates", "Template"),
    ("embedding.text_lengths", "cut_facts"), ("embedding.text_lengths", "token_counts"),
    ("embedding.text_lengths", "in_a_sentence"), ("embedding.text_lengths", "percent"),
    ("scoring.baseline_lengths", "baseline_lengths"), ("training.pair_lengths", "pair_lengths"),
}  # fmt: skip
BACKEND = "generation.transformers_backend.TransformersBackend"  # of the tiny study


def test_every_function_that_a_script_enters_is_in_its_digest(finished):
    """A function that is found by a name alone, and not by the digest, would go stale without a word."""
    held, entered = defaultdict(set), defaultdict(set)
    for script, *more in stages().values():
        held[script] |= set(computations(script, *more))
    held["make_pairs"] = set(computations("make_pairs", BACKEND))
    for line in (finished / "reached.tsv").read_text(encoding="utf-8").splitlines():
        script, module, name = line.split("\t")
        if script in held and module.partition(".")[0] not in UNCOUNTED:
            entered[script].add((module, name.partition(".")[0]))
    assert entered.keys() >= {
        "embed_checkpoint",
        "train_adapter",
        "make_pairs",
        "score_checkpoint",
        "measure_attention",
        "draw",
    }
    assert {
        script: names - held[script] - SAID for script, names in entered.items() if names - held[script] - SAID
    } == {}
    assert sum(map(len, entered.values())) > 500
