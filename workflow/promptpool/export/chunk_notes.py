"""What a model card says where long texts were scored in chunks: which tasks, and how to do the same."""

from collections.abc import Mapping

from .markdown import code, fenced

# With `model` as the card loads it, and `texts`.
MEAN_CODE = """import numpy as np
from promptpool.embedding.split_texts import split_texts
from promptpool.templates import Composer

raw = SentenceTransformer(modules=[part for part in model if type(part).__name__ != "Normalize"])
pieces, tokens, _ = split_texts(Composer(model.tokenizer, {most}), texts, overlap={overlap})
vectors = np.stack([
    np.average(raw.{encode}(list(own)), axis=0, weights=counts) if len(own) > 1 else raw.{encode}(own[0])
    for own, counts in zip(pieces, tokens)
])"""
MAX_SIM_CODE = """from promptpool.embedding.split_texts import split_texts
from promptpool.templates import Composer

pieces, _, _ = split_texts(Composer(model.tokenizer, {most}), documents, overlap={overlap})
query = model.{ask}("what is looked for")
scores = [float(model.similarity(query, model.{encode}(list(own))).max()) for own in pieces]"""


WAYS = {
    "mean": ("their vector is the mean of the chunks' vectors, weighted by tokens, before it gets length 1", MEAN_CODE),
    "max-sim": ("a document is as similar to a query as its most similar chunk", MAX_SIM_CODE),
}


def chunk_notes(variant: Mapping) -> str:
    """Paragraphs that go on with the card; empty without chunks. variant: promptpool.json, whose `long_texts` are task
    -> `how`, `overlap` and `at`, the tokens of a chunk.
    """
    roles = not isinstance(variant["template"], str)
    calls = {"encode": "encode_document" if roles else "encode", "ask": "encode_query" if roles else "encode"}
    known, parts = variant.get("long_texts", {}), []
    for spec in {repr(spec): spec for spec in known.values()}.values():
        words, snippet = WAYS[spec["how"]]
        tasks = ", ".join(code(task) for task, own in known.items() if own == spec)
        parts.append(
            f"\n\nLong texts of {tasks} were scored in chunks of at most {spec['at']} tokens: {words}. This model cuts "
            "them. The same, with the promptpool package:\n\n"
        )
        parts.append(fenced(snippet.format(most=spec["at"], overlap=spec["overlap"], **calls), "python"))
    return "".join(parts)
