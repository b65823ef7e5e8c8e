"""A post-processed pooling, or several side by side, as stock modules of sentence-transformers.

A Dense module with a bias holds an affine map. Two layers at once also fit into stock modules: Pooling's mode `cls`
puts out `cls_token_embeddings` if there are any, so a Dense module that copies what was pooled so far to that key makes
the next Pooling put its own vector behind it. A WeightedLayerPooling before each Pooling chooses the layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..artifacts.parts import listed_file
from ..embedding.aggregation import Aggregation
from ..embedding.embedder import Embedder
from ..embedding.post_processing import read_statistics
from ..models.sentence_model import POOLING_MODES
from ..variants import layer_name
from .saved_layout import SavedModule, layer_module

IDENTITY = "torch.nn.modules.linear.Identity"


@dataclass(frozen=True)
class Fitted:
    """A readout to export. spec: as `Aggregation.of` reads it; statistics: the file of its prompt's family."""

    spec: Mapping
    statistics: str

    @property
    def parts(self) -> Sequence[Mapping]:
        return self.spec["parts"]

    @property
    def poolings(self) -> list[str]:
        return list(dict.fromkeys(part["pooling"] for part in self.parts))

    def dense(self, prompt: str) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias on the parts' raw vectors side by side (Aggregation.dense)."""
        return Aggregation.of(self.spec).dense(prompt, read_statistics(self.statistics))

    def facts(self, prompt: str) -> dict:
        """What promptpool.json says of it."""
        known = read_statistics(self.statistics)
        first = self.parts[0]
        texts = known[prompt, first["pooling"], first["layer"]].texts
        return {"parts": [dict(part) for part in self.parts], "scale": self.spec["scale"], "fitted_texts": texts}

    def vectors(self, engine: Embedder, texts: Sequence[str], prompt: str, template: str) -> np.ndarray:
        """The pipeline's own, float32 [n, dim]."""
        layers = list(dict.fromkeys(part["layer"] for part in self.parts))
        found = engine.grid(texts, {prompt: template}, self.poolings, layers)
        return Aggregation.of(self.spec).read(prompt, found, read_statistics(self.statistics))


def fitted_readout(spec: Mapping, manifests: Sequence[str] | str) -> Fitted | None:
    """The readout of a rule's `spec`, with its statistics from their manifest; None for a pooling as it comes."""
    if "readout" not in spec:
        return None
    manifest = manifests if isinstance(manifests, str) else manifests[0]
    return Fitted(spec["readout"], listed_file(manifest, spec["family"]))


def layer_in_words(layer: float) -> str:
    """The hidden state that is pooled, for a reader."""
    what = "a share of the depth" if isinstance(layer, float) else "0 is the embeddings"
    return "the last layer" if layer == -1 else f"layer {layer} ({what})"


def parts_in_words(parts: Sequence[Mapping]) -> str:
    """The parts for a reader, joined by `, then`."""
    words = []
    for part in parts:
        layer = "the last layer" if part["layer"] == -1 else f"layer {layer_name(part['layer'])}"
        after = "" if part["post_processing"] == "none" else f", {part['post_processing']}"
        weight = f" (weight {part['weight']:g})" if len(parts) > 1 else ""
        words.append(f"`{part['pooling']}` of {layer}{after}{weight}")
    return ", then ".join(words)


def readout_modules(
    width: int, parts: Sequence[tuple[str, int]], saved: int, dense: tuple[np.ndarray, np.ndarray]
) -> list[SavedModule]:
    """The modules between Transformer and Normalize. width: of a hidden state; parts: (pooling, number of its layer);
    saved: layers of the saved model; dense: weight and bias of the last module.
    """
    modules: list[SavedModule] = []
    before = 0  # dimensions that were pooled so far
    for pooling, layer in parts:
        if len(parts) > 1 or layer < saved:
            modules.append(layer_module(width, layer, saved))
        named = POOLING_MODES[pooling]
        modes = [named] if isinstance(named, str) else list(named)
        if before:
            copy = {"in_features": before, "out_features": before, "bias": False, "activation_function": IDENTITY,
                    "module_input_name": "sentence_embedding",
                    "module_output_name": "cls_token_embeddings"}  # fmt: skip
            modules.append(("Dense", copy, {"linear.weight": torch.eye(before)}))
        together = ["cls", *modes] if before else modes
        modules.append(
            ("Pooling", {"embedding_dimension": width, "pooling_mode": together, "include_prompt": True}, {})
        )
        before += width * len(modes)
    weight, bias = (torch.from_numpy(np.ascontiguousarray(array)) for array in dense)
    config = {"in_features": before, "out_features": before, "bias": True, "activation_function": IDENTITY}
    modules.append(("Dense", config, {"linear.weight": weight, "linear.bias": bias}))
    return modules
