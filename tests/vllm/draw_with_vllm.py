"""Tokens that vLLM's V1 sampler takes with our processor, from made-up scores: run where vLLM is.

    PYTHONPATH=workflow/promptpool/generation/inside_vllm PYTHON draw_with_vllm.py ROWS TEMPERATURE TOP_P < SCORES.json

Prints JSON: `counts` of each token over ROWS requests that differ in nothing but their seed, and the tokens of a few
requests `alone`, `together`, and `moved`, in a batch that others have left. The fourth has no draw and is greedy.
"""

import json
import sys

import torch
import vllm_worker
from vllm import SamplingParams
from vllm.platforms import current_platform
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessors, MoveDirectionality
from vllm.v1.sample.metadata import SamplingMetadata
from vllm.v1.sample.sampler import Sampler

STEPS, FEW, GREEDY = 4, 6, 3  # new tokens a request; requests of the small batch; which of these has no draw
ONE_WAY, SWAP = MoveDirectionality.UNIDIRECTIONAL, MoveDirectionality.SWAP


class Batch:
    """Requests in a batch as vLLM's V1 runner keeps them. Each has already written `written` tokens."""

    def __init__(self, params: list[SamplingParams], written: int):
        self.processor = vllm_worker.SeededDraws(None, torch.device("cpu"), False)
        self.outputs: list[list[int]] = [[0] * written for _ in params]
        added = [(place, one, None, out) for place, (one, out) in enumerate(zip(params, self.outputs, strict=True))]
        self.processor.update_state(BatchUpdate(len(params), removed=[], added=added, moved=[]))

    def tokens(self, scores: torch.Tensor) -> list[int]:
        """The next token of each place. scores: [places, vocabulary]."""
        return Sampler()(scores.clone(), metadata(LogitsProcessors([self.processor]))).sampled_token_ids[:, 0].tolist()


def metadata(processors: LogitsProcessors) -> SamplingMetadata:
    """Of a batch whose requests are all greedy for vLLM."""
    none = torch.empty(0)
    return SamplingMetadata(
        temperature=None, all_greedy=True, all_random=False, top_p=None, top_k=None, generators={},
        max_num_logprobs=None, no_penalties=True, prompt_token_ids=None, frequency_penalties=none,
        presence_penalties=none, repetition_penalties=none, output_token_ids=[], allowed_token_ids_mask=None,
        bad_words_token_ids={}, logitsprocs=processors,
    )  # fmt: skip


def main(rows: int, temperature: float, top_p: float) -> None:
    current_platform.import_kernels()
    scores = torch.tensor(json.load(sys.stdin))
    engine = vllm_worker.Engine.__new__(vllm_worker.Engine)
    engine.draws, engine.sampling = True, {"max_tokens": STEPS, "temperature": temperature, "top_p": top_p}
    asked = [SamplingParams(**engine._sampling(seed)) for seed in range(rows)]
    assert all(one.seed is None and one.temperature == 0 for one in asked)
    picked = Batch(asked, written=2).tokens(scores.expand(rows, -1))
    counts = torch.bincount(torch.tensor(picked), minlength=len(scores)).tolist()

    few = [SamplingParams(temperature=0) if n == GREEDY else one for n, one in enumerate(asked[:FEW])]
    theirs = scores + torch.randn(FEW, len(scores), generator=torch.Generator().manual_seed(0))
    alone = [[Batch([one], written).tokens(row[None])[0] for one, row in zip(few, theirs, strict=True)]
             for written in range(2)]  # fmt: skip
    batch = Batch(few, written=0)
    together = batch.tokens(theirs)
    # The first and the third end; vLLM moves the last two into their places, and then swaps two.
    for out, token in zip(batch.outputs, together, strict=True):
        out.append(token)
    moved = [(5, 0, ONE_WAY), (4, 2, ONE_WAY), (1, 2, SWAP)]
    batch.processor.update_state(BatchUpdate(4, removed=[2, 0], added=[], moved=moved))
    places = [5, 4, 1, 3]
    after = dict(zip(places, batch.tokens(theirs[places]), strict=True))
    expected = {place: alone[1][place] for place in places}
    print(json.dumps({
        "counts": counts, "alone": alone[0], "together": together,
        "moved": [after[place] for place in sorted(after)], "alone_later": [expected[n] for n in sorted(expected)],
        "greedy": [together[GREEDY], int(theirs[GREEDY].argmax())],
    }))  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
