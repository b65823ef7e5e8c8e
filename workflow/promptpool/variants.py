"""The names of a variant's vector: a pooling with its span, and a layer. No tensors, as the config check reads this."""

import re

from .errors import PromptpoolError

POOLINGS = ("mean", "last", "eos", "weighted", "max", "concat", "attention")
# What a config may name: `mean` reads all tokens, `mean:text` only those of the text. EOS is never part of a text.
POOLING_KEYS = (*POOLINGS, *(f"{name}:text" for name in POOLINGS if name != "eos"))
SERVED_POOLINGS = ("mean", "last", "eos")  # that vLLM and llama.cpp know, `eos` as `last`

# What is done to a pooled vector afterwards, with statistics of unlabelled texts. Scores write it behind the pooling:
# `last+center`. The numbers: the exponent of whitening, and how many axes are removed.
RAW = "none"
POST_PROCESSING = re.compile(r"none|center|zscore|soft-whiten\((0\.\d{1,4}|1)\)|remove-top\(([1-9]\d{0,2})\)")

# Short and small vectors, named in the same place: the first dimensions alone, a smaller number type, or both.
SHORT_VECTOR = re.compile(r"cut\(([1-9]\d{0,4})\)(?:\+(int8|binary))?|(int8|binary)")

# The name of a lexical part, in the place of a pooling: the number is its dimensions.
LEXICAL = re.compile(r"tfidf-svd\(([1-9]\d{0,3})\)")

# The folders of the vectors of fitting texts and of a choice's held-out pairs, beside those of tasks, whose names begin
# with a letter or digit.
FITTING, CHOICE = "_fitting", "_choice"
# The split of a corpus's rows: pairs to train on are made from the first, and only tasks read the second.
TRAIN, TASK = "train", "task"
WHOLE_LAYER = -1  # the layer in the scores of an aggregation, whose parts have their own
LAST_LAYER = -1  # where an adapter is trained that names no layer

Layer = int | float
Key = tuple[str, str, Layer]  # prompt, pooling with its span, layer: all three as in the config


def split_pooling(key: str) -> tuple[str, str]:
    """`mean:text` -> (`mean`, `text`); `mean` -> (`mean`, `all`). Raises PromptpoolError for an unknown pooling."""
    if key not in POOLING_KEYS:
        raise PromptpoolError(f"poolings: unknown pooling {key!r}; use one of {', '.join(POOLING_KEYS)}")
    name, _, span = key.partition(":")
    return name, span or "all"


def readout_name(pooling: str, post_processing: str = RAW) -> str:
    """What the column `pooling` of the scores holds: `last`, or `last+center`."""
    return pooling if post_processing == RAW else f"{pooling}+{post_processing}"


def split_readout(name: str) -> tuple[str, str]:
    """The (pooling, post-processing) that `readout_name` joined. A pooling may also be an aggregation's name."""
    pooling, _, post_processing = name.partition("+")
    return pooling, post_processing or RAW


def lexical_name(kind: str, dim: int) -> str:
    """`tfidf-svd(64)`: what LEXICAL matches."""
    return f"{kind}({dim})"


def short_vector(post_processing: str) -> tuple[int | None, str | None] | None:
    """`cut(64)+int8` -> (64, "int8"), `int8` -> (None, "int8"); None for what leaves vectors as long as they are."""
    found = SHORT_VECTOR.fullmatch(post_processing)
    if found is None:
        return None
    dims, cut_type, whole_type = found.groups()
    return int(dims) if dims else None, cut_type or whole_type


def layer_number(layer: Layer, depth: int) -> int:
    """The hidden state that a layer means: 0 the embeddings, n the output of layer n, -1 the last, 0.5 half the depth.

    A fraction is a share of the depth, rounded half up. Raises PromptpoolError outside the model.
    """
    if isinstance(layer, float):
        if not 0 < layer < 1:
            raise PromptpoolError(
                f"layers: {layer} is not a share of the depth; give one between 0 and 1, or a whole number"
            )
        return int(layer * depth + 0.5)
    number = layer + depth + 1 if layer < 0 else layer
    if not 0 <= number <= depth:
        raise PromptpoolError(f"layers: {layer} is outside this model of {depth} layers; use -{depth + 1} ... {depth}")
    return number


def trained_layers(layer: Layer, depth: int) -> int:
    """How many layers run where an adapter is trained at this one.

    Raises PromptpoolError outside the model, and for the embeddings, which no adapter changes.
    """
    number = layer_number(layer, depth)
    if number == 0:
        raise PromptpoolError(
            f"layer: {layer} of {depth} layers is the embeddings, where nothing is adapted; give 1 for the first "
            "layer, or -1"
        )
    return number


def layer_name(layer: Layer) -> str:
    """A layer as text: `-1`, `0.5`. The same whether a table holds it as 3 or as 3.0."""
    return f"{layer:g}"


def parse_layer(text: str) -> Layer:
    """The layer that `layer_name` wrote."""
    return float(text) if "." in text else int(text)


def key_text(key: Key) -> str:
    """A variant's name in an embeddings file: `cluster/mean:text/-1`."""
    prompt, pooling, layer = key
    return f"{prompt}/{pooling}/{layer_name(layer)}"


def parse_key(text: str) -> Key:
    """The variant that `key_text` wrote."""
    prompt, pooling, layer = text.split("/")
    return prompt, pooling, parse_layer(layer)


# What becomes of a task's texts that are longer than the model reads: `long_texts` in a config.
CUT_TEXTS, MEAN_OF_CHUNKS, MAX_SIM = "cut", "mean", "max-sim"

BASE = "base"
SEED_MARK = "~"  # no name of a config holds it


def seed_name(name: str, seed: int) -> str:
    """The name of an adapter's training with another seed than its first: `halves~7`."""
    return f"{name}{SEED_MARK}{seed}"


def split_seed(name: str) -> tuple[str, int | None]:
    """`halves~7` -> (`halves`, 7). An adapter's first seed has no name of its own: `halves` -> (`halves`, None)."""
    adapter, _, seed = name.partition(SEED_MARK)
    return adapter, int(seed) if seed else None


def split_adapter_id(adapter: str) -> tuple[str, int]:
    """`name@step` -> (name, step); `base` -> ("base", 0). Raises PromptpoolError for anything else."""
    if adapter == BASE:
        return BASE, 0
    name, _, step = adapter.rpartition("@")
    if not name or not step.isdigit():
        raise PromptpoolError(f"adapter {adapter!r}: not `base` and not `name@step`; give it a step")
    return name, int(step)
