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
from ..templates import DOCUMENT, ROLES, Composer, Template
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


class RoleTransformer(Transformer):
    """A Transformer whose tokenizer puts one prompt round queries and another round documents.

    The role is the argument `task`, as encode_query, encode_document and the trainer's `router_mapping` give it. A text
    without a role is a document.
    """

    def set_prompts(self, templates: Mapping[str, Template], max_text_tokens: int, eos: bool) -> None:
        """Each role's prompt. A text is cut to `max_text_tokens` under either."""
        self.wrapped = {}
        backend = self.tokenizer.backend_tokenizer
        own = backend.post_processor
        for role in ROLES:
            backend.post_processor = own  # else the other role's prefix would count as the tokenizer's own BOS
            length = max_text_tokens + wrap_prompt(self.tokenizer, templates[role], eos)
            self.wrapped[role] = (backend.post_processor, length)
        self.query_length, self.document_length = (self.wrapped[role][1] for role in ROLES)
        self.max_seq_length = max(self.query_length, self.document_length)

    def put_on(self, role: str) -> None:
        """Makes the tokenizer use a role's prompt from now on."""
        self.tokenizer.backend_tokenizer.post_processor = self.wrapped[role][0]

    def preprocess(self, inputs, prompt: str | None = None, task: str | None = None, **how) -> dict:
        role = task or DOCUMENT
        self.put_on(role)
        return super().preprocess(inputs, prompt=prompt, task=role, **how)


def sentence_model(
    path: str,
    template: Template | Mapping[str, Template],
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

    template: of both roles, or each role's: then the first module is a RoleTransformer. loading: further arguments of
    the model's `from_pretrained`, such as its attention or quantization; causal: false removes the causal mask
    (both_ways).
    """
    if pooling not in POOLING_MODES:
        raise PromptpoolError(
            f"pooling {pooling!r} is not in stock sentence-transformers; use one of {', '.join(POOLING_MODES)}"
        )
    roles = isinstance(template, Mapping)
    with text_alone():
        transformer = (RoleTransformer if roles else Transformer)(
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
    if roles:
        transformer.set_prompts(template, max_text_tokens, eos=pooling == "eos")
    else:
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
