"""The values that init writes, each with where it comes from: the model's size, the number of texts, the device."""

from collections.abc import Mapping
from dataclasses import dataclass

from .text_facts import TextFacts

SMALL, LARGE = 50e6, 3e9  # parameters
SHORT = 16  # words; half of a shorter text says little
TRAINED_ON_CPU = 48  # tokens of a training text; the demo's
BYTES_TO_TRAIN = 2.6  # bytes a parameter takes on a GPU in training: bfloat16 weights, and some for what is computed
_HELD_OUT = 300  # pairs that a verdict should have, at most a fifth of all


@dataclass(frozen=True)
class Value:
    """A value of the study and why it has it."""

    value: object
    why: str


def training_defaults(facts: TextFacts, parameters: float, gpu: float | None) -> dict[str, Value]:
    """Key of an adapter -> its value. facts: of the texts to learn from; gpu: bytes of its memory, None: a CPU."""
    pairs = max(1, facts.count)
    batch = _batch(pairs, gpu)
    steps = _steps(pairs, batch.value, gpu)
    return {
        "max_steps": steps,
        "steps": Value(sorted({max(1, steps.value // 2), steps.value}), "checkpoints that are kept and scored"),
        "batch_size": batch,
        "learning_rate": _rate(parameters),
        "warmup_steps": Value(max(2, steps.value // 8), "an eighth of the steps"),
        "temperature": Value(0.05, "the demo's; usual for contrastive losses on cosines"),
        "max_text_tokens": _length(facts, gpu, TRAINED_ON_CPU, "a training text is cut here"),
        "validation": Value(round(min(0.2, max(0.02, _HELD_OUT / pairs)), 2),
                            f"held out for the verdict: about {min(_HELD_OUT, pairs // 5)} pairs"),
        "lora": Value({"rank": _rank(parameters)}, "the paper's 64; 16 for models of more than 3 billion parameters"),
        **_memory(parameters, gpu),
    }  # fmt: skip


def pair_styles(facts: TextFacts) -> Value:
    """How pairs are made without a second model."""
    if facts.words >= SHORT:
        return Value(["halves"], f"each text is cut in two; a text has {facts.words:.0f} words (median)")
    return Value(
        ["halves", "word-deletion"], f"texts are short ({facts.words:.0f} words): half of them lose words instead"
    )


def grid_length(facts: TextFacts, gpu: float | None) -> Value:
    return _length(facts, gpu, 128, "a scored text is cut here")


def _batch(pairs: int, gpu: float | None) -> Value:
    most, why = (120, "the paper's") if gpu else (64, "the demo's, on a CPU")
    return Value(max(2, min(most, pairs // 8)), f"{why}; at most an eighth of the texts")


def _steps(pairs: int, batch: object, gpu: float | None) -> Value:
    most, why = (100, "the paper's best checkpoint of 20,000 steps was 100") if gpu else (30, "minutes on two cores")
    return Value(max(10, min(most, 3 * pairs // int(batch))), f"{why}; at most three passes over the texts")


def _rate(parameters: float) -> Value:
    if parameters <= SMALL:
        return Value(1.0e-3, "the demo's, for a model of a few million parameters")
    if parameters <= LARGE:
        return Value(2.0e-4, "usual for LoRA; the paper's 5e-5 moves little in so few steps")
    return Value(1.0e-4, "usual for LoRA on models of several billion parameters")


def _rank(parameters: float) -> int:
    return 64 if parameters <= LARGE else 16


def _length(facts: TextFacts, gpu: float | None, on_cpu: int, what: str) -> Value:
    wanted = max(16, 8 * -(-facts.tokens // 8))
    most = 512 if gpu else on_cpu
    return Value(min(wanted, most), f"{what}; a long text has about {facts.tokens} tokens, most here: {most}")


def _memory(parameters: float, gpu: float | None) -> Mapping[str, Value]:
    """What a model that hardly fits needs."""
    if not gpu or parameters * BYTES_TO_TRAIN < 0.5 * gpu:
        return {}
    known = f"{parameters / 1e9:.1f} billion parameters on {gpu / 1e9:.0f} GB"
    found = {"gradient_checkpointing": Value(True, f"{known}: less memory, more time")}
    if parameters * BYTES_TO_TRAIN > 0.9 * gpu:
        found["quantize"] = Value("4bit", f"{known}: weights of four bits; needs bitsandbytes")
    return found
