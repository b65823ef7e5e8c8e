"""How much a baseline's model reads of its texts, as far as its own tokenizer or the config says."""

from collections.abc import Mapping, Sequence

from ..embedding.text_lengths import LENGTHS, cut_facts, token_counts


def baseline_lengths(texts: Sequence[str], spec: Mapping, model: object) -> dict:
    """{LENGTHS: `cut_facts`} for a sidecar; nothing where nobody says what is read.

    spec: the baseline, with its `prompt`, and for a server's model `max_characters`; model: as `baseline_model` loads
    it. Its texts are counted with their prompt, which its limit holds too, and tokenized once more for it. What a
    server's model cuts itself is not known.
    """
    if spec["kind"] == "openai":
        most = spec["max_characters"]
        if most is None:
            return {}
        return {LENGTHS: cut_facts(list(map(len, texts)), most, "characters")}
    most, tokenizer = getattr(model, "max_seq_length", None), getattr(model, "tokenizer", None)
    if not isinstance(most, int) or not callable(tokenizer):
        return {}
    before, _, after = spec["prompt"].partition("{text}")
    lengths = token_counts(tokenizer, [before + text + after for text in texts])
    return {LENGTHS: cut_facts(lengths, most)}
