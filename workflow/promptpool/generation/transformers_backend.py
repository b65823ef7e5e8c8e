"""The backend that runs in this process: transformers' `generate`, in batches of similar length."""

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
from .inside_vllm.seeded_draws import drawn, number_rows, only
from .watch import IN_A_ROW, Watch, thinking_advice


class TransformersBackend:
    """Runs anywhere, and runs the demo. If a batch does not fit into memory, it and the later ones are halved."""

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
        advice = "use a model that does not think, or one whose chat template can switch it off"
        self.watch = Watch(thinking_advice(model, advice, sampling["max_new_tokens"]), lasting=False)
        self.model = weights.to(place).eval()
        self.ends = _ends(self.model.generation_config.eos_token_id, self.tokenizer.eos_token_id)
        # The model's own defaults (a repetition penalty, top_k 50) are not settings of the study.
        self.model.generation_config = GenerationConfig(
            max_new_tokens=sampling["max_new_tokens"],
            do_sample=False,
            eos_token_id=self.ends or None,
            pad_token_id=self.ends[0] if self.ends else 0,
        )

    def write(self, requests: Sequence[Request], progress: Progress | None = None) -> list[Written]:
        """A text for each request, in order. The longest prompts go first, so that memory runs out early or never.

        Until one text is written, the first IN_A_ROW requests, a sample regardless of length, go before all others.
        """
        prompts = [self._ids(request) for request in requests]
        longest = (self.context or float("inf")) - self.sampling["max_new_tokens"]
        out = [unwritten(len(ids)) for ids in prompts]
        order = [i for i, ids in enumerate(prompts) if 0 < len(ids) <= longest]
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
        """Releases the weights."""
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
        # A chat template adds its own BOS.
        return self.tokenizer(text, add_special_tokens=not request.chat)["input_ids"]

    def _text(self, ids: list[int]) -> str:
        """New ids as text without special tokens, except those that mark thinking."""
        marked = not self.marks.isdisjoint(ids)
        if marked:
            ids = [token for token in ids if token not in self.dropped and token not in self.ends]
        return self.tokenizer.decode(ids, skip_special_tokens=not marked, clean_up_tokenization_spaces=False)

    def _batch(self, prompts: Sequence[list[int]], seeds: Sequence[int]) -> list[list[int]] | None:
        """The new ids of each row, its end included; None if the batch does not fit into memory."""
        try:
            return self._generate(prompts, seeds)
        except RuntimeError as error:  # includes a GPU's OutOfMemoryError; a CPU's shows only in its message
            if not is_out_of_memory(error):
                raise
        # Only after the except clause does the error release the batch's tensors.
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
                f"{self.name}: a single prompt of {tokens} tokens does not fit into memory; "
                "use a smaller model or shorter texts"
            )
        self.batch_size = rows // 2


class SeededSampling(LogitsProcessor):
    """Temperature and top-p sampling for a `generate` that takes the highest score. Every row has its own numbers."""

    def __init__(self, seeds: Sequence[int], steps: int, temperature: float, top_p: float, device: torch.device):
        self.draws, self.step = number_rows(seeds, steps, device), 0
        self.temperature, self.top_p = temperature, top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """input_ids: [rows, tokens]; scores: [rows, vocabulary], as the model returns them. Returns scores' shape."""
        picked = drawn(scores, self.draws[:, self.step], self.temperature, self.top_p)
        self.step += 1
        return only(scores, picked)


def _ends(*given: int | Sequence[int] | None) -> list[int]:
    """Every id that ends a text, each once."""
    ids = [token for one in given for token in ([one] if isinstance(one, int) else one or ())]
    return list(dict.fromkeys(ids))


def _until_end(row: list[int], ends: Sequence[int]) -> list[int]:
    """A row up to and including its first end; the rest is padding."""
    return next((row[: place + 1] for place, token in enumerate(row) if token in ends), row)
