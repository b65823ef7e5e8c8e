"""`adapters.<name>.layer` in a config: what is refused, what follows it, and what a study without it keeps."""

import json

import pytest
from promptpool.config.adapters import recipe
from promptpool.config.resolve import resolve
from promptpool.config.text_map import map_choice
from promptpool.study.plan import rows
from promptpool.study.study import Study
from sample_config import ROOT, demo, told

REACH = {"adapters__halves__layer": 0.5, "adapters__halves__validation": 0.1}


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("layer", [-1, 1, 4, -4, 0.5, 0.2])
def test_the_words_of_the_grid_are_taken(layer):
    assert resolve(demo(adapters__halves__layer=layer))["adapters"]["halves"]["layer"] == layer


@pytest.mark.parametrize(
    ("layer", "line"),
    [
        (5, "model 'nano-docs' has no layer 5; give one from -5 to 4"),
        (1.5, "1.5 is not a share of the depth; write a whole number, or a share between 0 and 1"),
        (0, "0 of 4 layers is the embeddings, where nothing is adapted; give 1 for the first layer, or -1"),
        (-5, "-5 of 4 layers is the embeddings, where nothing is adapted; give 1 for the first layer, or -1"),
        (0.1, "0.1 of 4 layers is the embeddings, where nothing is adapted; give 1 for the first layer, or -1"),
    ],
)
def test_a_layer_that_cannot_be_trained_is_told_in_one_line(layer, line):
    assert told(demo(adapters__halves__layer=layer)) == f"config.yaml: adapters.halves.layer: {line}"


def test_the_embeddings_of_a_hub_model_are_refused_too():
    hub = {"models__nano-docs": {"path": "owner/name", "revision": "a" * 40}}
    assert resolve(demo(**hub, adapters__halves__layer=0.1))  # its depth is not known yet
    line = told(demo(**hub, adapters__halves__layer=0))
    assert line.startswith("config.yaml: adapters.halves.layer: 0 is the embeddings, where nothing is adapted")
    assert "number" in told(demo(adapters__halves__layer="half"))
    assert "at most 200" in told(demo(adapters__halves__layer=201))


def test_the_last_layer_is_no_part_of_a_recipe_and_another_is():
    assert "layer" not in recipe(resolve(demo()), "halves")
    assert "layer" not in recipe(resolve(demo(adapters__halves__layer=-1)), "halves")
    assert recipe(resolve(demo(adapters__halves__layer=0.5)), "halves")["layer"] == 0.5


def test_an_adapter_that_others_trained_keeps_its_layer():
    given = {"model": "nano-docs", "path": "owner/it", "prompt": "cluster", "pooling": "last", "steps": [1]}
    study = demo(adapters__theirs={**given, "layer": 2}, adapters__last=given)
    full = resolve(study)
    assert recipe(full, "theirs")["layer"] == 2 and "layer" not in recipe(full, "last")


def test_the_verdict_is_read_where_the_adapter_was_trained():
    assert Study(resolve(demo(**REACH))).judged_spec()["layer"] == 0.5
    assert "layer" not in Study(resolve(demo(adapters__halves__validation=0.1))).judged_spec()


def test_the_map_follows_an_inner_layer_of_the_grid():
    """Of an adapter at the last layer, and where the grid lacks the layer, it takes the grid's first as ever."""
    bare = {"exports": {}, "grid__layers": [2, -1, 0.5], "map": {"adapters": ["base", "halves@80"]}}
    assert map_choice(resolve(demo(**bare)))["layer"] == 2
    assert map_choice(resolve(demo(**bare, **REACH)))["layer"] == 0.5
    assert map_choice(resolve(demo(**{**bare, "grid__layers": [2, -1]}, **REACH)))["layer"] == 2
    of_first = {**bare, "map": {}, "adapters__halves__layer": 0.5}
    assert map_choice(resolve(demo(**of_first)))["layer"] == 0.5


def test_training_costs_by_the_layers_that_run():
    def adapters(**changes: object):
        return next(row for row in rows(Study(resolve(demo(**changes)))) if row.stage == "adapters")

    whole = adapters()
    half = adapters(adapters__halves__layer=0.5, adapters__synthetic__layer=2)
    assert half.flops == pytest.approx(whole.flops / 2) and half.disk == pytest.approx(whole.disk / 2)
    assert half.tokens == whole.tokens
    hub = {"models__nano-docs": {"path": "owner/name", "revision": "a" * 40}}  # of a guessed depth
    assert adapters(**hub, adapters__halves__layer=90).flops == adapters(**hub).flops


def test_an_export_takes_a_share_of_the_depth():
    full = resolve(demo(**{"exports__docs-cluster__layer": 0.5}))
    assert full["exports"]["docs-cluster"]["layer"] == 0.5
    line = told(demo(**{"exports__docs-cluster__layer": 1.5}))
    assert line.startswith("config.yaml: exports.docs-cluster.layer: 1.5 is not a share of the depth")


def test_layers_of_a_study_without_the_key_change_no_param():
    plain, named = (Study(resolve(demo(**how))) for how in ({}, {"adapters__halves__layer": -1}))
    assert json.dumps(plain.adapter_spec("halves")) == json.dumps(named.adapter_spec("halves"))
    assert plain.judged_spec() == named.judged_spec() and plain.map_spec() == named.map_spec()
