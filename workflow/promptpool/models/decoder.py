"""The text decoder of a model: refused where there is none, and taken by its role out of a model that also sees."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from ..errors import PromptpoolError
from ..hub.safe_loading import SAFE

AutoModels = (AutoModel, AutoModelForImageTextToText, AutoModelForCausalLM)
TEXT_PART = "text_config"  # transformers' key of the text decoder's config in the config of a larger model


def require_decoder(config: PreTrainedConfig, path: str) -> None:
    """Raises PromptpoolError, from the config alone, for a model that is no decoder or that transformers cannot load.

    An encoder-decoder, and an encoder, also one of which transformers can make a causal LM (`is_decoder: false`).
    """
    kind = config.model_type
    if type(config).is_encoder_decoder or config.is_encoder_decoder or _is_encoder(config) or not _is_causal(config):
        raise PromptpoolError(f"{path}: {kind} is not a decoder-only model; name a causal LM")
    if type(config) not in AutoModel._model_mapping:
        raise PromptpoolError(f"{path}: transformers has no model of {kind} without its head; name another model")
    if text_part(config) is config and kind in PROCESSOR_MAPPING_NAMES:  # it reads more than text
        raise PromptpoolError(f"{path}: {kind} reads images or sound with its text decoder; name a model for text")


def _is_encoder(config: PreTrainedConfig) -> bool:
    """Whether a config says that a token sees those that follow."""
    part = text_part(config)
    both_ways = getattr(part, "use_bidirectional_attention", None) is True or getattr(part, "is_causal", None) is False
    return both_ways or (getattr(config, "is_decoder", True) is False and hasattr(config, "add_cross_attention"))


def _is_causal(config: PreTrainedConfig) -> bool:
    """Whether transformers makes a causal LM of a config, or of its text decoder."""
    known = (AutoModelForCausalLM._model_mapping, AutoModelForImageTextToText._model_mapping)
    part = text_part(config)
    return TEXT_PART in (config.base_config_key, part.base_config_key) or any(
        type(one) in mapping for one in (config, part) for mapping in known
    )


def text_part(config: PreTrainedConfig) -> PreTrainedConfig:
    """The text decoder's config; of a model for text alone its whole config."""
    return config.get_text_config(decoder=True)


def loads_alone(config: PreTrainedConfig) -> bool:
    """Whether transformers can load what is saved of the text decoder, which an export is."""
    return type(text_part(config)) in AutoModel._model_mapping


SUPPORT = {"flash_attention_2": "_supports_flash_attn", "sdpa": "_supports_sdpa"}  # transformers' own words, best first


def supported_attention(config: PreTrainedConfig, attention: str) -> str:
    """The attention asked for, or the best that the architecture has instead: `sdpa`, or `eager`, which all have."""
    classes = _classes(text_part(config)) or _classes(config)
    names = list(SUPPORT)
    for name in names[names.index(attention) :] if attention in names else ():
        if all(getattr(one, SUPPORT[name], True) for one in classes):
            return name
    return "eager" if attention in names else attention


def _classes(config: PreTrainedConfig) -> tuple[type[PreTrainedModel], ...]:
    known = AutoModel._model_mapping.get(type(config), ())
    return known if isinstance(known, tuple) else (known,)


def load_decoder(path: str, config: PreTrainedConfig, *, attention: str | None = None, **how: Any) -> PreTrainedModel:
    """The text decoder of a directory or hub id, without an LM head; under its own attention where its code looks
    attentions up in a table of its own.

    how: further arguments of `from_pretrained`. Raises PromptpoolError, see `require_decoder`, and for a package that
    the model needs and this machine lacks.
    """
    require_decoder(config, path)
    text = text_part(config)
    # What sees may lack an attention that the text decoder has, so only the text decoder is asked for it.
    parts = [name for name in config.sub_configs if getattr(config, name, None) is text and text is not config]
    asked = dict.fromkeys(parts, attention) if parts and attention else attention
    # Some files hold the names of the model with its head, and only that class finds them all.
    classes = [auto for auto in AutoModels if type(config) in auto._model_mapping]
    try:
        for auto in classes:
            decoder, lost = _loaded(AutoModels.index(auto), path, asked, attention, how)
            if not lost:
                break
    except ImportError as error:
        reason = " ".join(str(error).split())[:200]
        raise PromptpoolError(f"{path}: {config.model_type} needs a package that is not installed: {reason}") from None
    if lost:
        raise PromptpoolError(
            f"{path}: its files lack {len(lost)} of the weights of {type(decoder).__name__}, such as {lost[0]}, which "
            "would be random; get the whole model, or name another"
        )
    decoder_layers(decoder)  # or it is refused here
    decoder.name_or_path = decoder.config._name_or_path = path
    return decoder


def _loaded(number: int, path: str, asked: object, attention: str | None, how: dict) -> tuple[PreTrainedModel, list]:
    """The text decoder as one of AutoModels loads it, and which of its weights the files lack."""
    how = {"output_loading_info": True, **how}
    try:
        whole, told = AutoModels[number].from_pretrained(path, attn_implementation=asked, **how, **SAFE)
    except KeyError as error:
        if error.args != (attention,):
            raise
        whole, told = AutoModels[number].from_pretrained(path, attn_implementation="eager", **how, **SAFE)
    decoder = text_decoder(whole if text_part(whole.config) is not whole.config else whole.base_model)
    own, missing = {id(weight) for weight in decoder.parameters()}, set(told["missing_keys"])
    named = whole.named_parameters(remove_duplicate=False)
    return decoder, sorted(name for name, weight in named if name in missing and id(weight) in own)


def text_decoder(model: PreTrainedModel) -> PreTrainedModel:
    """The part that reads text, by its config; the model itself where it reads nothing else.

    Raises PromptpoolError for a model whose text decoder is no model of its own.
    """
    text = text_part(model.config)
    if text is model.config:
        return model
    wanted = _classes(text)
    parts = [part for part in model.modules() if isinstance(part, PreTrainedModel) and part is not model]
    for part in parts:
        if isinstance(part, wanted) and type(part.config) is type(text):
            return part
    for part in parts:  # a class that AutoModel does not know
        if type(part.config) is type(text) and part.get_output_embeddings() is None:
            return part
    raise PromptpoolError(
        f"{model.name_or_path}: {type(model).__name__} has no text decoder of its own ({text.model_type}); name a "
        "model for text"
    )


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The list of a text decoder's layers, whatever the architecture calls it: the outermost of the config's length.

    Some count sub-layers in their config; then it is the list called `layers`.
    """
    count = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    lists = [(name, part) for name, part in model.named_modules() if isinstance(part, nn.ModuleList)]
    lists.sort(key=lambda named: named[0].count("."))
    for _, part in lists:
        if len(part) == count:
            return part
    for name, part in lists:
        if name == "layers" and len(part):
            return part
    raise PromptpoolError(
        f"{model.name_or_path}: no list of {count or 'its'} decoder layers found in {type(model).__name__}; name "
        "another model"
    )


def set_attention(model: PreTrainedModel, name: str) -> None:
    """Sets the attention implementation of a loaded model, even if the architecture has only one.

    transformers' own method refuses models whose attention is not behind its interface, but their masks follow the
    config too.
    """
    for config in {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}.values():
        config._attn_implementation = name


@contextmanager
def plain_attention(model: PreTrainedModel) -> Iterator[None]:
    """The model's own attention: eager, which every architecture has, and which returns its weights."""
    before = model.config._attn_implementation
    set_attention(model, "eager")
    try:
        yield
    finally:
        set_attention(model, before)
