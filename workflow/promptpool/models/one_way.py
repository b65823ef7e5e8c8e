"""Which decoders cannot lose their causal mask (`causal: false`), from their config.json alone: no import is heavy."""

from collections.abc import Mapping

FULL = "full_attention"  # as transformers calls a layer whose tokens may see all others
POSITIONS = ("bloom", "mpt")  # ALiBi without a key that says so


def one_way_reason(config: Mapping) -> str | None:
    """Why a model of this config.json cannot read in both directions; None where nothing in the config says so.

    Sliding windows and chunks hide a part of a text, recurrent layers read it once, and ALiBi's penalty is made for
    tokens that came before.
    """
    part = config.get("text_config") or config
    others = sorted({str(kind) for kind in part.get("layer_types") or () if kind != FULL})
    if others:
        return f"has layers of {', '.join(others)}"
    if "layer_types" not in part and part.get("sliding_window") and part.get("use_sliding_window", True):
        return f"attends within a sliding window of {part['sliding_window']} tokens"
    alibi = part.get("alibi") or (part.get("attn_config") or {}).get("alibi")
    if alibi or part.get("position_embedding_type") == "alibi" or part.get("model_type") in POSITIONS:
        return "has ALiBi positions"
    return None


def one_way_fault(place: str, kind: str, reason: str) -> str:
    """The refusal, as one line. place: the model's name, path or key."""
    return f"{place}: {kind} {reason}, so its causal mask cannot be removed; write causal: true, or name another model"
