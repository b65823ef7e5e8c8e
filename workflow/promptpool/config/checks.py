"""What a schema can't check in a config: references, templates, checkpoints, and what can be exported."""

from collections.abc import Iterator, Mapping

from ..errors import PromptpoolError
from ..templates import Template
from .aggregations import aggregations
from .benchmarks import unknown_tasks
from .choice import choice_faults
from .files import corpus_file_problems, task_file_problems, topic_problems
from .inputs import adapters, base_model, baselines, corpora, models, pairs, styles, tasks
from .long_texts import long_text_faults
from .outputs import ablations, attention, ensembles, exports, grid_faults
from .paths import paths
from .queries import synthetic_search_faults
from .roles import role_faults
from .secrets import secrets
from .served import serve_faults
from .text_map import text_map_faults

FILES = (corpus_file_problems, topic_problems, task_file_problems)


def first_problem(config: Mapping, files: bool = True) -> str | None:
    """The first fault of a config whose defaults are filled, as `dotted.key: what is wrong; what to do`, or None.

    A check may rely on all checks before it, so only the first fault is certain. Users' files are checked last, and
    only if `files` is true, because that takes longest.
    """
    checks = (
        secrets, paths, _prompts, models, corpora, base_model, styles, pairs, adapters, grid_faults, ensembles,
        role_faults, aggregations, tasks, synthetic_search_faults, unknown_tasks, long_text_faults, baselines,
        ablations, attention, exports, serve_faults, text_map_faults, choice_faults,
    )  # fmt: skip
    for check in (*checks, *(FILES if files else ())):
        for problem in check(config):
            return problem
    return None


def _prompts(config: Mapping) -> Iterator[str]:
    for name, template in config["prompts"].items():
        try:
            Template.parse(name, template)
        except PromptpoolError as error:
            yield str(error)
