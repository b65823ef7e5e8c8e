"""The backend that runs in this process: `generate` of transformers, in batches of like length."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
)

from ..errors import PromptpoolError
from ..hub.safe_loading import SAFE
from ..models.backbone import pick_device
from ..models.memory import is_out_of_memory
from ..models.precision import training_dtype
from .backend import Progress, Request, WriterSetup, Written, encodable, unwritten, written
from .checks import check_writer, kept_marks, template_thinks
from .watch import IN_A_ROW, Watch, thinking_advice

LIKELIEST = 256  # candidates looked at for top-p, and sixteen times as many while they are too few


class TransformersBackend:
    """Runs anywhere; the demo's backend. A batch that does not fit the memory is halved, and so are those after it."""

    def __init__(self, setup: WriterSetup):
        model, sampling = setup.model, setup.sampling
        place = pick_device(setup.device)
        config, self.tokenizer = check_writer(model, setup.revision, setup.needs_chat)
        self.place, self.kind = place, training_dtype(setup.dtype, place)
        how = {"revision": setup.revision, "dtype": self.kind}
        if type(config) in AutoModelForCausalLM._model_mapping:
            weights = AutoModelForCausalLM.from_pretrained(model, **how, **SAFE)
        else:  # a model that also sees, such as Qwen2-VL
            weights = AutoModelForImageTextToText.from_pretrained(model, **how, **SAFE)
        self.name, self.sampling, self.batch_size = model, sampling, setup.options["batch_size"]
        self.context = getattr(config.get_text_config(), "max_position_embeddings", None)
        self.thinks = setup.needs_chat and template_thinks(self.tokenizer)
        self.marks, self.dropped = kept_marks(self.tokenizer)
        advice = "use a model that does not think, or whose chat template can switch it off"
        self.watch = Watch(thinking_advice(model, advice, sampling["max_new_tokens"]), lasting=False)
        self.model = weights.to(place).eval()
        self.ends = _ends(self.model.generation_config.eos_token_id, self.tokenizer.eos_token_id)
        # The model's own defaults (a repetition penalty, top_k 50) are no setting of the study.
        self.model.generation_config = GenerationConfig(
            max_new_tokens=sampling["max_new_tokens"],
            do_sample=False,
            eos_token_id=self.ends or None,
            pad_token_id=self.ends[0] if self.ends else 0,
        )

    def write(self, requests: Sequence[Request], progress: Progress | None = None) -> list[Written]:
        """A text for each request, in order. The longest prompts go first, so that memory runs out early or never.

        Until a text is there, the first IN_A_ROW go before all others: a sample of no length.
        """
        prompts = [self._ids(request) for request in requests]
        room = (self.context or float("inf")) - self.sampling["max_new_tokens"]
        out = [unwritten(len(ids)) for ids in prompts]
        order = [i for i, ids in enumerate(prompts) if 0 < len(ids) <= room]
        first = {} if self.watch.proved else {i: 0 for i in order[:IN_A_ROW]}
        order.sort(key=lambda i: (first.get(i, 1), -len(prompts[i]), i))
        done = len(prompts) - len(order)
        while order:
            group = order[: self.batch_size]
            new = self._batch([prompts[i] for i in group], [requests[i].seed for i in group])
            if new is None:
                self._halve(len(group), len(prompts[group[0]]))
                continue
            for i, ids in zip(group, new, strict=True):
                facts = len(prompts[i]), len(ids), ids[-1] in self.ends
                out[i] = written(self._text(ids), requests[i], *facts, opens=self.thinks)
            del order[: len(group)]
            for i in group:
                self.watch.seen(out[i], requests[i].again)
            done += len(group)
            if progress:
                progress(done, len(prompts))
        return out

    def close(self) -> None:
        """Lets the weights go."""
        self.model = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ids(self, request: Request) -> list[int]:
        text = encodable(request.text)
        if request.chat:
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        # A chat template writes its own BOS.
        return self.tokenizer(text, add_special_tokens=not request.chat)["input_ids"]

    def _text(self, ids: list[int]) -> str:
        """New ids as text without special tokens, but for those that mark thinking."""
        marked = not self.marks.isdisjoint(ids)
        if marked:
            ids = [token for token in ids if token not in self.dropped and token not in self.ends]
        return self.tokenizer.decode(ids, skip_special_tokens=not marked, clean_up_tokenization_spaces=False)

    def _batch(self, prompts: Sequence[list[int]], seeds: Sequence[int]) -> list[list[int]] | None:
        """The new ids of each row, its end included; None where the batch does not fit the memory."""
        try:
            return self._generate(prompts, seeds)
        except RuntimeError as error:  # a GPU's OutOfMemoryError is one, a CPU's is told by its words alone
            if not is_out_of_memory(error):
                raise
        # Only here, past the except clause, has the error let go of the batch's tensors.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    @torch.inference_mode()
    def _generate(self, prompts: Sequence[list[int]], seeds: Sequence[int]) -> list[list[int]]:
        width = max(map(len, prompts))
        pad = self.model.generation_config.pad_token_id
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in prompts])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts])
        place, steps = self.model.device, self.sampling["max_new_tokens"]
        choosing = LogitsProcessorList()
        if self.sampling["temperature"] > 0:
            choosing.append(SeededSampling(seeds, steps, self.sampling["temperature"], self.sampling["top_p"], place))
        rows = self.model.generate(
            input_ids=ids.to(place), attention_mask=mask.to(place), logits_processor=choosing
        )[:, width:].tolist()  # fmt: skip
        return [_until_end(row, self.ends) for row in rows]

    def _halve(self, rows: int, tokens: int) -> None:
        if rows == 1:
            raise PromptpoolError(
                f"{self.name}: a single prompt of {tokens} tokens does not fit the memory; "
                "use a smaller model or shorter texts"
            )
        self.batch_size = rows // 2


class SeededSampling(LogitsProcessor):
    """Temperature and top-p sampling in which every row has its own random numbers, so that its batch has no say.

    Leaves all scores at -inf but the drawn token's, for a `generate` that takes the highest. A row draws one uniform
    number a step and takes the token in whose share of the cumulative distribution it falls: exact, and far cheaper
    than noise for a whole vocabulary. The vocabulary's own order, not the probabilities', keeps a draw stable where
    two probabilities differ by rounding alone.
    """

    def __init__(self, seeds: Sequence[int], steps: int, temperature: float, top_p: float, device: torch.device):
        draws = [
            torch.rand(steps, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) for seed in seeds
        ]
        self.draws, self.step = torch.stack(draws).to(device), 0
        self.temperature, self.top_p = temperature, top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """input_ids: [rows, tokens]; scores: [rows, vocabulary], as the model gives them. Returns scores' shape."""
        probabilities = torch.softmax(scores.float() / self.temperature, dim=-1)
        tokens, shares = nucleus(probabilities, self.top_p)
        reached = shares.double().cumsum(-1)
        aim = self.draws[:, self.step, None] * reached[:, -1:]
        self.step += 1
        place = torch.searchsorted(reached, aim, right=True).clamp_(max=shares.shape[-1] - 1)
        picked = place if tokens is None else tokens.gather(-1, place)
        return torch.full_like(scores, float("-inf")).scatter_(-1, picked, 0.0)


def nucleus(probabilities: Tensor, top_p: float) -> tuple[Tensor | None, Tensor]:
    """The fewest likeliest tokens whose probabilities reach `top_p` (arXiv 1904.09751), in the vocabulary's order.

    probabilities: [rows, vocabulary]. Returns (tokens, shares), each [rows, candidates]: shares are probabilities, 0
    for a candidate outside. tokens is None where every token is a candidate, in place.
    """
    if top_p >= 1:
        return None, probabilities
    size, candidates = probabilities.shape[-1], LIKELIEST
    shares, tokens = probabilities.topk(min(candidates, size))
    while candidates < size and (shares.sum(-1) < top_p).any():  # far cheaper than to sort every row whole
        candidates *= 16
        shares, tokens = probabilities.topk(min(candidates, size))
    before = shares.cumsum(-1) - shares
    tokens, order = tokens.sort(-1)
    return tokens, shares.masked_fill(before >= top_p, 0.0).gather(-1, order)


def _ends(*given: int | Sequence[int] | None) -> list[int]:
    """Every id that ends a text, each once."""
    ids = [token for one in given for token in ([one] if isinstance(one, int) else one or ())]
    return list(dict.fromkeys(ids))


def _until_end(row: list[int], ends: Sequence[int]) -> list[int]:
    """A row up to and with its first end; what follows is padding."""
    return next((row[: place + 1] for place, token in enumerate(row) if token in ends), row)
