"""Language models as writers: prompts in, texts out, whatever runs them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from .artifacts import text_digest
from .backbone import pick_device, pick_dtype
from .errors import PromptpoolError


class Backend(Protocol):
    """One method: a text written for each prompt, in order. Prompts come ready, chat template and all."""

    def write(self, prompts: Sequence[str], progress: Callable[[int, int], None] | None = None) -> list[str]: ...

    def chat(self, instruction: str) -> str:
        """The instruction as the model's chat template puts it."""
        ...


class TransformersBackend:
    """`generate` of transformers, in batches of like length. Runs anywhere; the demo's backend."""

    def __init__(
        self, path: str, spec: Mapping, *, revision: str | None = None, device: str = "auto", dtype: str = "auto"
    ):
        self.path, self.spec = path, spec
        place = pick_device(device)
        self.tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, padding_side="left")
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        model = AutoModelForCausalLM.from_pretrained(path, revision=revision, dtype=pick_dtype(dtype, place))
        self.model = model.to(place).eval()

    def chat(self, instruction: str) -> str:
        if not self.tokenizer.chat_template:
            raise PromptpoolError(
                f"pairs: model {self.path} has no chat template; use an instruction-tuned model, or style continue"
            )
        message = [{"role": "user", "content": instruction}]
        return self.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)

    @torch.inference_mode()
    def write(self, prompts: Sequence[str], progress: Callable[[int, int], None] | None = None) -> list[str]:
        """Sampled continuations. A batch's seed comes from its prompts' digests, so a rerun writes the same."""
        spec, out = self.spec, [""] * len(prompts)
        order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), prompts[i]))
        for start in range(0, len(order), spec["batch_size"]):
            group = order[start : start + spec["batch_size"]]
            batch = [prompts[i] for i in group]
            inputs = self.tokenizer(batch, return_tensors="pt", padding=True, return_token_type_ids=False)
            torch.manual_seed((int(text_digest("\0".join(batch))[:8], 16) + spec["seed"]) % 2**31)
            written = self.model.generate(
                **inputs.to(self.model.device),
                max_new_tokens=spec["max_new_tokens"],
                do_sample=spec["temperature"] > 0,
                temperature=spec["temperature"] or None,
                top_p=spec["top_p"],
                pad_token_id=self.tokenizer.pad_token_id,
            )[:, inputs["input_ids"].shape[1] :]
            for i, text in zip(group, self.tokenizer.batch_decode(written, skip_special_tokens=True), strict=True):
                out[i] = text.strip()
            if progress:
                progress(min(start + len(group), len(order)), len(order))
        return out
