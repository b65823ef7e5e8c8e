"""A decoder without its causal mask: each token sees the whole text, as in LLM2Vec (BehnamGhader et al. 2024, arXiv
2404.05961).

transformers removes the mask itself where a model's config says `is_causal: false`. What it leaves is measured here.
"""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..errors import PromptpoolError
from .decoder import decoder_layers, plain_attention
from .one_way import one_way_fault, one_way_reason

PROBE, OTHER = (5, 6, 7, 8, 9), (5, 6, 7, 8, 4)  # two texts that differ in their last token


def sees_all(model: PreTrainedModel) -> bool:
    """Whether the model's causal mask was removed."""
    return getattr(model.config.get_text_config(), "is_causal", True) is False


def remove_causal_mask(model: PreTrainedModel) -> PreTrainedModel:
    """The model itself, whose tokens see those that follow from now on; an export keeps that in its config.

    Raises PromptpoolError, one line with the architecture's name, unless every layer then really sees all tokens.
    """
    config = model.config.get_text_config()
    reason = one_way_reason(config.to_dict())
    if reason is None:
        config.is_causal = False
        reason = _blind(model)
    if reason:
        raise PromptpoolError(one_way_fault(model.name_or_path, config.model_type, reason))
    return model


@torch.inference_mode()
def _blind(model: PreTrainedModel) -> str | None:
    """What shows on a text of five tokens that some layer still hides a part of it; None if all see all."""
    training = model.training
    model.eval()
    try:
        with plain_attention(model):
            rows = _first_rows(model)
        if len(rows) < len(decoder_layers(model)):
            return "has layers without attention"
        if not all(bool((row > 0).all()) for row in rows):
            return "keeps a mask of its own"
        one, other = (model(**_inputs(model, ids)).last_hidden_state[:, 0] for ids in (PROBE, OTHER))
        return "keeps a mask of its own" if torch.equal(one, other) else None
    finally:
        model.train(training)


def _first_rows(model: PreTrainedModel) -> list[Tensor]:
    """The first token's attention in each layer that has one, [heads, tokens]."""
    found = getattr(model(**_inputs(model, PROBE), output_attentions=True), "attentions", None) or ()
    return [weights[0, :, 0] for weights in found if isinstance(weights, Tensor) and weights.ndim == 4]


def _inputs(model: PreTrainedModel, ids: tuple[int, ...]) -> dict:
    few = min(max(PROBE) + 1, model.config.get_text_config().vocab_size)
    row = torch.tensor([[token % few for token in ids]], device=model.device)
    return {"input_ids": row, "attention_mask": torch.ones_like(row), "use_cache": False}
