"""Checks that a model can write, before its weights are loaded."""

from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from ..errors import PromptpoolError
from ..hub.safe_loading import NO_CODE
from .backend import one_line
from .thinking import BESIDE_MARKS, MARKS, opens_thinking

CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")  # class names of causal LMs; the last also see


def check_writer(
    model: str, revision: str | None, needs_chat: bool
) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase]:
    """The config and the tokenizer of a model that writes.

    Raises PromptpoolError for a model that can't be found; for one that is not a causal LM (an encoder, a
    sequence-to-sequence model, a decoder saved without its language-model head); and, if `needs_chat`, for one whose
    tokenizer has no chat template.
    """
    at = f" at revision {revision}" if revision else ""
    try:
        config = AutoConfig.from_pretrained(model, revision=revision, **NO_CODE)
        tokenizer = AutoTokenizer.from_pretrained(model, revision=revision, padding_side="left", **NO_CODE)
    except (OSError, ValueError) as error:
        raise PromptpoolError(
            f"{model}: no model can be read there{at} ({one_line(error, 160)}); fix the path or the revision in models"
        ) from None
    _require_causal(model, config)
    if needs_chat and not tokenizer.chat_template:
        raise PromptpoolError(
            f"{model}: its tokenizer has no chat template, so it can't follow instructions; "
            "use an instruction-tuned model, or style continue"
        )
    return config, tokenizer


def template_thinks(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template begins the model's thinking even if asked not to."""
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "x"}], tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    return opens_thinking(prompt)


def kept_marks(tokenizer: PreTrainedTokenizerBase) -> tuple[set[int], set[int]]:
    """(ids of special tokens that begin or end thinking, ids to drop if one of these is in a text)."""
    special = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    # gpt-oss marks few of its special tokens as special, yet `decode` leaves the others out too.
    special |= {token: added.content for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    marks = {token for token, text in special.items() if text in MARKS}
    dropped = {token for token, text in special.items() if text not in MARKS and text not in BESIDE_MARKS}
    return marks, dropped | ({tokenizer.eos_token_id} - {None})


def _require_causal(model: str, config: PreTrainedConfig) -> None:
    kind = config.model_type
    if config.is_encoder_decoder:
        raise _other(model, f"{kind} is a sequence-to-sequence model, not a causal LM")
    saved = list(config.architectures or ())
    known = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind)
    if any(name.endswith(CAUSAL) or name == known for name in saved):
        return
    if saved and kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        raise _other(model, f"{saved[0]} is an encoder, not a causal LM")
    if saved:
        raise _other(model, f"it was saved as {saved[0]}, without a causal LM's head")
    # BERT and similar models are also listed as causal LMs, as decoders, which nobody trains.
    if known is None or kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        raise _other(model, f"{kind} is not a causal LM")


def _other(model: str, what: str) -> PromptpoolError:
    return PromptpoolError(f"{model}: {what}; name a causal LM, such as an instruction-tuned Qwen or Llama")
