"""An export with a prompt for queries and one for documents, as stock modules of sentence-transformers 6.

A Router stands before the model. Its two routes do nothing but tokenize: each has its own tokenizer, with its prompt in
the post-processor, and a model without layers, because a route must have one. The one real model comes after the Router
and reads the ids. So the weights exist once, on disk and in memory, and both roles' ids are exactly the pipeline's.
"""

from pathlib import Path

from sentence_transformers.sentence_transformer.modules import Transformer
from transformers import LlamaConfig, LlamaModel

from ..models.sentence_model import RoleTransformer
from ..templates import DOCUMENT, ROLES
from .saved_layout import save_tokenizer, write_json_file

ROUTER = "Router"
# Where a route's model puts its output: a key that the next module does not pass on to its own model.
NOT_READ = "special_tokens_mask"


def own_length(transformer: Transformer) -> int:
    """The longest input of the tokenizer that lies beside the weights: with roles, the documents' one."""
    return transformer.document_length if isinstance(transformer, RoleTransformer) else transformer.max_seq_length


def save_router(folder: Path, transformer: RoleTransformer) -> list[str]:
    """Writes the Router's folder, and leaves the documents' prompt on the tokenizer. Returns the modules before the
    model.

    Its default route is documents, as in sentence-transformers' own Router for queries and documents: plain `encode`
    embeds a document, and so does whatever reads the directory without its Router.
    """
    names = {role: f"{role}_0_Transformer" for role in ROLES}
    place = folder / f"0_{ROUTER}"
    for role, name in names.items():
        transformer.put_on(role)
        save_route(place / name, transformer, transformer.wrapped[role][1])
    write_json_file(
        place / "router_config.json",
        {
            "types": {name: "sentence_transformers.models.Transformer" for name in names.values()},
            "structure": {role: [name] for role, name in names.items()},
            "parameters": {"default_route": DOCUMENT, "allow_empty_key": False},
        },
    )
    transformer.put_on(DOCUMENT)
    return [ROUTER]


def save_route(folder: Path, transformer: RoleTransformer, max_tokens: int) -> None:
    """One route: a tokenizer, and a model of two dimensions and no layer."""
    folder.mkdir(parents=True)
    tokenizer = transformer.tokenizer
    config = LlamaConfig(
        vocab_size=max(len(tokenizer), *tokenizer.get_vocab().values()) + 1,
        hidden_size=2, intermediate_size=2, num_hidden_layers=0, num_attention_heads=1, num_key_value_heads=1,
        max_position_embeddings=max_tokens, bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    # Of the same type as the real model, which sentence-transformers would otherwise load in this one's.
    LlamaModel(config).to(transformer.model.dtype).save_pretrained(folder)
    save_tokenizer(folder, tokenizer, max_tokens)
    write_json_file(
        folder / "sentence_bert_config.json",
        {
            "max_seq_length": max_tokens,
            "do_lower_case": False,
            "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
            "module_output_name": NOT_READ,
        },
    )
