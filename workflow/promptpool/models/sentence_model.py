"""A plain sentence-transformers model that matches the pipeline: same ids, same pooling.

Training tunes it and export saves it. The prompt's prefix and suffix are in the tokenizer's post-processor, so stock
sentence-transformers needs no code of ours.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from unittest.mock import patch

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import transformer as loading_code
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ..errors import PromptpoolError
from ..hub.safe_loading import NO_CODE
from ..templates import Composer, Template
from .both_ways import remove_causal_mask
from .decoder import load_decoder

POOLING_MODES = {
    "mean": "mean",
    "last": "lasttoken",
    "eos": "lasttoken",  # the post-processor ends with the EOS token
    "weighted": "weightedmean",
    "max": "max",
    "concat": ("lasttoken", "mean"),
}


@contextmanager
def text_alone() -> Iterator[None]:
    """In here sentence-transformers' module loads a text decoder alone, also of a model that sees, and its tokenizer.

    So no processor of images is made, and no package is needed that one would want. The module stays a stock one.
    """

    def load(_self, path: str, _task: str, config: PreTrainedConfig, *_: object, **how: object) -> PreTrainedModel:
        return load_decoder(path, config, attention=how.pop("attn_implementation", None), **how)

    with patch.object(loading_code, "AutoProcessor", AutoTokenizer), patch.object(Transformer, "_load_model", load):
        yield


def sentence_model(
    path: str,
    template: Template,
    pooling: str,
    max_text_tokens: int,
    *,
    revision: str | None = None,
    normalize: bool = False,
    dtype: torch.dtype = torch.float32,
    device: str | None = None,
    loading: Mapping[str, object] | None = None,
    causal: bool = True,
) -> SentenceTransformer:
    """A SentenceTransformer over a decoder's last hidden state. Raises PromptpoolError for a pooling that it lacks.

    loading: further arguments of the model's `from_pretrained`, such as its attention or quantization; causal: false
    removes the causal mask (both_ways).
    """
    if pooling not in POOLING_MODES:
        raise PromptpoolError(
            f"pooling {pooling!r} is not in stock sentence-transformers; use one of {', '.join(POOLING_MODES)}"
        )
    with text_alone():
        transformer = Transformer(
            path,
            model_kwargs={"dtype": dtype, **({"revision": revision} if revision else {}), **(loading or {})},
            processor_kwargs={**NO_CODE, **({"revision": revision} if revision else {})},
            config_kwargs={**NO_CODE, **({"revision": revision} if revision else {})},
            module_output_name="token_embeddings",
            # Without this a chat template would be wrapped around every text.
            modality_config={"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        )
    if not causal:
        remove_causal_mask(transformer.model)
    tokenizer = transformer.tokenizer
    tokenizer.chat_template = None
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    transformer.max_seq_length = max_text_tokens + wrap_prompt(tokenizer, template, eos=pooling == "eos")
    width = transformer.get_embedding_dimension()
    modules = [transformer, Pooling(width, POOLING_MODES[pooling])]
    if normalize:
        modules.append(Normalize())
    return SentenceTransformer(modules=modules, device=device)


def wrap_prompt(tokenizer: PreTrainedTokenizerBase, template: Template, eos: bool) -> int:
    """Makes the tokenizer put BOS + prefix before and suffix (+ EOS) after every text; returns how many tokens.

    Truncation then cuts only the text, exactly as in `templates.Composer`.
    """
    composer = Composer(tokenizer, max_text_tokens=1)
    head = [*composer.bos_ids, *composer.piece(template.prefix)]
    tail = [*composer.piece(template.suffix), *([composer.eos_id] if eos else [])]
    pieces = {"PROMPT_PREFIX": head, "PROMPT_SUFFIX": tail}
    special = [
        {"id": name, "ids": ids, "tokens": tokenizer.convert_ids_to_tokens(ids)} for name, ids in pieces.items() if ids
    ]
    order = ["PROMPT_PREFIX"] * bool(head) + ["$A"] + ["PROMPT_SUFFIX"] * bool(tail)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=order, special_tokens=special)
    return len(head) + len(tail)
