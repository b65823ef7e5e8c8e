"""Reads a decoder's hidden states layer by layer as they are computed, and ends the pass after the deepest one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor
from transformers import PreTrainedModel

from ..errors import PromptpoolError
from ..models.decoder import decoder_layers


class _Enough(Exception):  # noqa: N818 (no fault)
    """The deepest layer that was asked for has been read."""


def one_state_a_token(model: PreTrainedModel, states: Tensor) -> Tensor:
    """States as a layer hands them on, [rows, tokens, dim]. PromptpoolError where a layer hands on several streams."""
    if states.ndim != 3:
        raise PromptpoolError(
            f"{model.name_or_path}: the layers of {type(model).__name__} hand on several states for each token; read "
            "its last layer alone, layers: [-1]"
        )
    return states


@contextmanager
def reading(model: PreTrainedModel, numbers: Sequence[int], read: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Passes each requested layer's states to `read` as they are computed. Layers beyond the deepest one do not run.

    The last layer's states are those after the final norm, which the caller has from the model's output.
    """
    layers = decoder_layers(model)
    deepest = max(numbers)
    handles, seen = [], set()

    def found(number: int, states: Tensor) -> None:
        seen.add(number)
        read(number, one_state_a_token(model, states))
        if number == deepest:
            raise _Enough

    def first(_module, args, kwargs):
        found(0, args[0] if args else kwargs["hidden_states"])

    def after(number: int):
        def hook(_module, _inputs, output):
            found(number, output[0] if isinstance(output, tuple | list) else output)

        return hook

    for number in set(numbers):
        if number == 0:
            handles.append(layers[0].register_forward_pre_hook(first, with_kwargs=True))
        elif number < len(layers):
            handles.append(layers[number - 1].register_forward_hook(after(number)))
    try:
        yield
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()
    lost = {number for number in numbers if number < len(layers)} - seen
    if lost:
        raise PromptpoolError(
            f"{model.name_or_path}: layer {min(lost)} of {type(model).__name__} does not run on text alone; read "
            "another"
        )
