"""What a model card says where long texts were scored in chunks: which tasks, and how to do the same."""

from collections.abc import Mapping

from ..variants import MEAN_OF_CHUNKS
from .markdown import code, fenced

MEAN_WORDS = "their vector is the mean of the chunks' vectors, weighted by tokens, before it gets length 1"
MAX_SIM_WORDS = "a document is as similar to a query as its most similar chunk"


def chunk_notes(variant: Mapping) -> str:
    """Paragraphs that go on with the card; empty without chunks. variant: promptpool.json, whose `long_texts` are task
    -> `how`, `overlap` and `at`, the tokens of a chunk.
    """
    known, parts = variant.get("long_texts", {}), []
    for spec in {repr(spec): spec for spec in known.values()}.values():
        words, lines = (MEAN_WORDS, mean_code) if spec["how"] == MEAN_OF_CHUNKS else (MAX_SIM_WORDS, max_sim_code)
        tasks = ", ".join(code(task) for task, own in known.items() if own == spec)
        parts.append(
            f"\n\nLong texts of {tasks} were scored in chunks of at most {spec['at']} tokens: {words}. This model cuts "
            "them. The same, with the promptpool package:\n\n"
        )
        parts.append(fenced(lines(spec, roles=not isinstance(variant["template"], str)), "python"))
    return "".join(parts)


def mean_code(spec: Mapping, roles: bool) -> str:
    """Code that embeds `texts` with the card's `model`. roles: whether documents have a call of their own."""
    call = "encode_document" if roles else "encode"
    return f"""import numpy as np
from promptpool.embedding.split_texts import split_texts
from promptpool.templates import Composer

raw = SentenceTransformer(modules=[part for part in model if type(part).__name__ != "Normalize"])
pieces, tokens, _ = split_texts(Composer(model.tokenizer, {spec["at"]}), texts, overlap={spec["overlap"]})
vectors = np.stack([
    np.average(raw.{call}(list(own)), axis=0, weights=counts) if len(own) > 1 else raw.{call}(own[0])
    for own, counts in zip(pieces, tokens)
])"""


def max_sim_code(spec: Mapping, roles: bool) -> str:
    """Code that scores `documents` for a query."""
    ask, answer = ("encode_query", "encode_document") if roles else ("encode", "encode")
    return f"""from promptpool.embedding.split_texts import split_texts
from promptpool.templates import Composer

pieces, _, _ = split_texts(Composer(model.tokenizer, {spec["at"]}), documents, overlap={spec["overlap"]})
query = model.{ask}("what is looked for")
scores = [float(model.similarity(query, model.{answer}(list(own))).max()) for own in pieces]"""
