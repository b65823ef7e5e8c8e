"""What keeps servers from giving an export's vectors, as far as a study's configuration says it.

vLLM and llama.cpp read a model's weights and its pooling, and no further module of sentence-transformers.
"""

from collections.abc import Iterator, Mapping

from ..variants import RAW, SERVED_POOLINGS


def serve_faults(config: Mapping) -> Iterator[str]:
    """The faults of `exports.<name>.serve`: servers load whole models, and pool and scale in few ways.

    Which server is installed is not a question of the configuration: see study/preflight.py.
    """
    for name, spec in config["exports"].items():
        if not spec["serve"]:
            continue
        for fault, what, remedy in (
            (spec["pooling"] not in SERVED_POOLINGS, f"pools {' or '.join(SERVED_POOLINGS)}, not {spec['pooling']}",
             "export one of these"),
            (not spec["merged"], "loads no adapter beside its base", "write merged: true"),
            (spec["layer"] != -1, "pools the last layer alone", "write layer: -1"),
            (spec["post_processing"] != RAW, "runs no Dense module", "write post_processing: none"),
        ):  # fmt: skip
            if fault:
                yield f"exports.{name}.serve: a server {what}; {remedy}, or write serve: null"
