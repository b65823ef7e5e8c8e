"""Whether a model can write at all, told in one line before its weights are loaded."""

from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from ..errors import PromptpoolError
from ..hub.safe_loading import NO_CODE
from .backend import one_line

CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")  # how causal LMs are called; the last see, too


def check_writer(
    model: str, revision: str | None, needs_chat: bool
) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase]:
    """The config and the tokenizer of a model that writes.

    Raises PromptpoolError for a model that can't be found, one that is no causal LM (an encoder, a
    sequence-to-sequence model, a decoder saved without its language-model head), and where `needs_chat`, one whose
    tokenizer has no chat template.
    """
    at = f" at revision {revision}" if revision else ""
    try:
        config = AutoConfig.from_pretrained(model, revision=revision, **NO_CODE)
        tokenizer = AutoTokenizer.from_pretrained(model, revision=revision, padding_side="left", **NO_CODE)
    except (OSError, ValueError) as error:
        raise PromptpoolError(
            f"{model}: no model can be read there{at} ({one_line(error, 160)}); mend the path or the revision in models"
        ) from None
    _require_causal(model, config)
    if needs_chat and not tokenizer.chat_template:
        raise PromptpoolError(
            f"{model}: its tokenizer has no chat template, so it can't be given instructions; "
            "use an instruction-tuned model, or style continue"
        )
    return config, tokenizer


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
    # BERT and its like are listed as causal LMs, too: as decoders, which nobody trains.
    if known is None or kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        raise _other(model, f"{kind} is not a causal LM")


def _other(model: str, what: str) -> PromptpoolError:
    return PromptpoolError(f"{model}: {what}; name a causal LM, such as an instruction-tuned Qwen or Llama")
