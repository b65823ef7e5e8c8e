"""How much a baseline's model reads of its texts, as far as its own tokenizer or the config says."""

from collections.abc import Mapping, Sequence

from ..embedding.text_lengths import LENGTHS, cut_facts

BATCH = 4096  # texts tokenized at once


def baseline_lengths(texts: Sequence[str], spec: Mapping, model: object) -> dict:
    """{LENGTHS: `cut_facts`} for a sidecar; nothing where nobody says what is read.

    spec: the baseline; model: as `baseline_model` loads it, whose texts are counted with their prompt. A server's model
    has a limit of characters, if any; what it cuts itself is not known.
    """
    if spec["kind"] == "openai":
        most = spec["max_characters"]
        return {LENGTHS: cut_facts(list(map(len, texts)), most, "characters")} if most else {}
    most, tokenizer = getattr(model, "max_seq_length", None), getattr(model, "tokenizer", None)
    if not isinstance(most, int) or not callable(tokenizer):
        return {}
    before, _, after = spec["prompt"].partition("{text}")
    lengths: list[int] = []
    for start in range(0, len(texts), BATCH):
        part = [before + text + after for text in texts[start : start + BATCH]]
        lengths += map(len, tokenizer(part, verbose=False)["input_ids"])
    return {LENGTHS: cut_facts(lengths, most)}
