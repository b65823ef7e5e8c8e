"""Measures what the last token takes from each span of a prompted text: its attention weighted by the values' norms.

Beside the plain share it shows spans that get attention and carry little, as the first token often does.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..models.checkpoint import Checkpoint
from .measure_attention import write_rows
from .value_norms import value_norm_rows


def measure_value_norms(
    out: str | Path,
    *,
    checkpoint: Checkpoint,
    model_name: str,
    adapter_id: str,
    prompts: Mapping[str, str],
    texts: Sequence[str],
    spec: Mapping,
) -> None:
    """What measure_attention writes, of rows weighted by value norms (value_norms.value_norm_rows); the same arguments,
    columns and errors, and PromptpoolError for a model whose values cannot be read.
    """
    write_rows(
        out, value_norm_rows, checkpoint=checkpoint, model_name=model_name, adapter_id=adapter_id, prompts=prompts,
        texts=texts, spec=spec, action="value norms",
    )  # fmt: skip
