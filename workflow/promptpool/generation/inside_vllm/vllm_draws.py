"""Seeded draws as a logits processor of vLLM's V1 runner, which every CPU uses (vLLM 0.32).

That runner draws row by row as soon as requests have seeds of their own, from noise for the whole vocabulary, and its
top-p sorts the vocabulary of every row. Here requests are greedy for vLLM, and a step draws all rows at once from the
likeliest tokens, by the same numbers as the transformers backend. vLLM imports this module by its name in each of its
processes; vllm_backend puts its folder on their path.

On a GPU vLLM's V2 runner draws in one kernel, by seeds that lie on the device, so that seeds are left to it there.
"""

import torch
from seeded_draws import drawn, only, uniforms
from vllm.v1.sample.logits_processor import LogitsProcessor, process_dict_updates

KEY = "draw"  # in a request's extra_args: {seed, steps, temperature, top_p}


class SeededDraws(LogitsProcessor):
    """Leaves to each row the one token that its own numbers draw."""

    def __init__(self, config: object, device: torch.device, is_pin_memory: bool):
        self.device, self.rows = device, {}

    def is_argmax_invariant(self) -> bool:
        return False  # or vLLM would not ask it for requests that are greedy

    def update_state(self, batch_update: object) -> None:
        """Follows requests through vLLM's batch: row -> (its numbers, the list of its new tokens, how to draw)."""
        process_dict_updates(self.rows, batch_update, _row)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """logits: [rows, vocabulary], as the model returns them. Returns the same shape; greedy requests stay."""
        if not self.rows:
            return logits
        places = sorted(self.rows)
        # vLLM appends a row's tokens to this list, so that its length is the step, also for a request that came back.
        numbers = [self.rows[place][0][len(self.rows[place][1])] for place in places]
        how = self.rows[places[0]][2]  # one engine has one temperature and top-p
        aims = torch.tensor(numbers, dtype=torch.float64).to(self.device)
        if len(places) == logits.shape[0]:
            return only(logits, drawn(logits, aims, *how))
        part = logits[places]
        logits[places] = only(part, drawn(part, aims, *how))
        return logits


def _row(params: object, prompt_ids: object, output_ids: list[int]) -> tuple | None:
    asked = (params.extra_args or {}).get(KEY)
    if asked is None:
        return None
    return uniforms(asked["seed"], asked["steps"]).tolist(), output_ids, (asked["temperature"], asked["top_p"])
