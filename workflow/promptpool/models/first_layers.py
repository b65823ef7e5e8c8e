"""A decoder that is cut down to its first layers: for an export of an inner layer, and for training one."""

import torch
from transformers import PreTrainedModel

from ..errors import PromptpoolError
from .decoder import decoder_layers


def keep_layers(model: PreTrainedModel, count: int) -> None:
    """Cuts a decoder, in place, down to its first `count` layers. PromptpoolError where its config then makes another.

    Some architectures hold weights that grow with the number of layers, outside of the layers.
    """
    layers, config = decoder_layers(model), model.config.get_text_config()
    for name, value in vars(config).items():  # what is said of each layer, such as `layer_types`
        if "layer" in name and isinstance(value, list) and len(value) == len(layers):
            setattr(config, name, value[:count])
    del layers[count:]
    own = config.to_dict().get("per_layer_config") or {}
    config.num_hidden_layers = count
    if own:  # what some layers have of their own, by their number
        config.per_layer_config = {number: told for number, told in own.items() if int(number) < count} or None
    if shapes(model) != shapes_of_config(model):
        raise PromptpoolError(
            f"{model.name_or_path}: the first layers of a {config.model_type} alone are no model of its kind; take "
            "its last layer, layer: -1"
        )


def shapes(model: PreTrainedModel) -> dict[str, tuple]:
    """The shape of each weight, before it was packed into four bits if it was."""
    return {
        name: tuple(getattr(getattr(weight, "quant_state", None), "shape", weight.shape))
        for name, weight in model.named_parameters()
    }


def shapes_of_config(model: PreTrainedModel) -> dict[str, tuple]:
    """The shapes of a model that is made from this one's config; none where its own checks refuse the config."""
    try:
        with torch.device("meta"):
            return shapes(type(model)(type(model.config).from_dict(model.config.to_dict())))
    except (ValueError, TypeError, RuntimeError, KeyError, IndexError):
        return {}
