"""The faults of `choice`: what keeps held-out pairs from proposing a readout and a checkpoint."""

from collections.abc import Iterator, Mapping

from ..errors import choices
from ..variants import BASE, split_adapter_id
from .adapters import adapter_ids, untrained


def choice_faults(config: Mapping) -> Iterator[str]:
    """Each as `dotted.key: what is wrong; what to do`."""
    spec, adapters = config["choice"], config["adapters"]
    if spec is None:
        return
    if not config["pairs"]:
        yield "choice: there are no pairs to choose by; add a set to pairs, or write choice: null"
    scored = {split_adapter_id(one)[0] for one in adapter_ids(config)} - {BASE}
    trained = [name for name in adapters if name in scored and not untrained(adapters[name])]
    for name in spec["adapters"] or ():
        if name not in trained:
            listed = choices(name, trained)
            yield f"choice.adapters: {name!r} is not an adapter that is trained here and in the grid; {listed}"
        elif not adapters[name]["validation"]:
            yield f"choice.adapters: {name!r} holds no pairs out; set adapters.{name}.validation to 0.1"
    if trained and not any(adapters[name]["validation"] for name in trained):
        yield f"choice: no adapter of the grid holds pairs out; set adapters.{trained[0]}.validation to 0.1"
