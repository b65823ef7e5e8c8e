"""What a variant costs: counted by hand for a tiny model."""

import numpy as np
import pandas as pd
import pytest
from promptpool.models.backbone import load_backbone
from promptpool.models.checkpoint import Checkpoint
from promptpool.scoring.measure_costs import Shape, measure_costs
from promptpool.templates import Composer, Template
from tiny import tiny_model

PROMPTS = {"none": "{text}", "cluster": 'This: "{text}" belongs to', "echo": "Say {text} again: {text}"}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("costs") / "model"))


@pytest.fixture(scope="module")
def table(model, tmp_path_factory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("table")
    pd.DataFrame({"text": ["one two three", "four five"]}).to_parquet(folder / "texts.parquet")
    measure_costs(
        str(folder / "costs.parquet"), name="small", checkpoint=Checkpoint(model),
        texts={"topics": str(folder / "texts.parquet")},
        spec={"prompts": PROMPTS, "ensembles": {"both": ["none", "cluster"]}, "layers": [-1, 1, 0],
              "max_text_tokens": 16, "text_normalisation": "none", "seed": 1},
    )  # fmt: skip
    return pd.read_parquet(folder / "costs.parquet").set_index(["prompt", "eos", "layer"])


def test_operations_are_those_of_the_matrices_and_of_the_attention(model):
    shape, loaded = Shape.of(model), load_backbone(model, device="cpu").model
    matrices = [sum(p.numel() for p in layer.parameters() if p.dim() > 1) for layer in loaded.layers]
    assert shape.parameters.tolist() == matrices and shape.depth == len(matrices)
    config = loaded.config
    heads = config.num_attention_heads * getattr(config, "head_dim", config.hidden_size // config.num_attention_heads)
    by_hand = 2 * matrices[0] * 3 + sum(2 * 2 * heads * keys for keys in (1, 2, 3))
    assert shape.flops(np.array([3]), 1).tolist() == [by_hand]
    assert shape.flops(np.array([3]), 0).tolist() == [0]


def test_tokens_are_those_that_the_model_reads(model, table):
    composer = Composer(load_backbone(model, device="cpu").tokenizer, 16)
    for name, template in PROMPTS.items():
        for eos in (False, True):
            read = [
                composer.compose(Template.parse(name, template), text, eos).ids
                for text in ("one two three", "four five")
            ]
            assert table.loc[(name, eos, -1), "tokens"] == np.mean([len(ids) for ids in read])


def test_an_inner_layer_costs_less_and_an_ensemble_what_its_prompts_do(table):
    own = table["flops"]
    assert 0 == own["cluster", False, 0] < own["cluster", False, 1] < own["cluster", False, -1]
    assert own["both", False, -1] == pytest.approx(own["none", False, -1] + own["cluster", False, -1])
    assert table.loc[("none", False, -1), "number"] == table.loc[("none", False, -1), "depth"]
