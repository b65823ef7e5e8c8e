"""The demo's base model: a small Qwen3 decoder, trained from scratch on the built-in corpus."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from ..artifacts.files import atomic_path

BOS, EOS = "<|bos|>", "<|eos|>"


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE with a BOS (id 0, put before every text) and an EOS (id 1, also padding)."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[BOS, EOS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    bpe.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=BOS, eos_token=EOS, pad_token=EOS)


def token_stream(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> np.ndarray:
    """All texts as one int32 row of ids: BOS text EOS BOS text EOS ..."""
    eos = [tokenizer.eos_token_id]
    rows: list[int] = []
    for start in range(0, len(texts), 4096):
        for ids in tokenizer(list(texts[start : start + 4096]))["input_ids"]:
            rows.extend(ids + eos)
    return np.asarray(rows, dtype=np.int32)


def new_model(spec: Mapping, vocabulary: int) -> Qwen3ForCausalLM:
    torch.manual_seed(spec["seed"])
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocabulary,
            hidden_size=spec["width"],
            intermediate_size=3 * spec["width"],
            num_hidden_layers=spec["layers"],
            num_attention_heads=spec["heads"],
            num_key_value_heads=spec["kv_heads"],
            head_dim=64,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )


def optimizers_for(model: torch.nn.Module, spec: Mapping) -> list[torch.optim.Optimizer]:
    """Muon for the weight matrices, AdamW for embeddings and norm gains.

    Muon (Jordan et al., 2024) orthogonalises each matrix's momentum; its authors leave embeddings to AdamW. Here 43
    steps of it reached held-out loss 5.6, and AdamW alone 6.6
    (docs/explanation/measured/base-model.md).
    """
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in named if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.AdamW(rest, lr=spec["adam_lr"], betas=(0.9, 0.95), weight_decay=0.0, fused=True),
        torch.optim.Muon(matrices, lr=spec["muon_lr"], weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
    ]


def schedule(progress: float, step: int, warmup: int, decay: float) -> float:
    """Share of the peak learning rate: linear warm-up, flat, linear decay over the last `decay` of it."""
    return min(1.0, (step + 1) / warmup, max(0.02, (1.0 - progress) / decay))


def pretrain(
    model: Qwen3ForCausalLM,
    ids: np.ndarray,
    heldout: np.ndarray,
    spec: Mapping,
    state: Path,
    say: Callable[[str], None] = print,
) -> dict:
    """Trains `model` in place on the id stream. Returns the facts for the model card.

    Stops at `max_tokens` seen or `max_seconds` of training, whichever comes first. The learning rate follows the one
    that is nearer its end. A killed run resumes from `state`, saved every 200 steps.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device).train()
    length, batch = spec["sequence"] + 1, spec["batch"]
    rows = torch.from_numpy(ids[: len(ids) // length * length].reshape(-1, length))
    optimizers = optimizers_for(model, spec)
    peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]

    def loss_of(x: torch.Tensor) -> torch.Tensor:
        logits = model(input_ids=x[:, :-1]).logits
        return F.cross_entropy(logits.flatten(0, 1).float(), x[:, 1:].flatten())

    compiled = torch.compile(loss_of)
    step, seconds, running, curve = 0, 0.0, None, []
    if state.exists():
        saved = torch.load(state, weights_only=True)
        model.load_state_dict(saved["model"])
        for optimizer, content in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(content)
        step, seconds, running, curve = saved["step"], saved["seconds"], saved["running"], saved["curve"]
        say(f"resumed at step {step}")
    while True:
        tokens = step * batch * spec["sequence"]
        progress = max(tokens / spec["max_tokens"], seconds / spec["max_seconds"])
        if progress >= 1:
            break
        started = time.perf_counter()
        x = rows[_batch_rows(step, batch, len(rows), spec["seed"])].long().to(device)
        loss = compiled(x)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        share = schedule(progress, step, spec["warmup"], spec["decay"])
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            for group, rate in zip(optimizer.param_groups, peak, strict=True):
                group["lr"] = share * rate
            optimizer.step()
            optimizer.zero_grad()
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(f"demo base model: loss is {value} at step {step}; lower muon_lr or adam_lr")
        running = value if running is None else 0.98 * running + 0.02 * value
        step, seconds = step + 1, seconds + time.perf_counter() - started
        if step % 50 == 0:
            rate = step * batch * spec["sequence"] / seconds
            say(f"step {step}  loss {running:.3f}  {100 * progress:.0f} %  {rate:,.0f} tokens/s")
        if step % 200 == 0:
            curve.append([step, running])
            with atomic_path(state) as temporary:
                torch.save(
                    {
                        "model": model.state_dict(),
                        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                        "step": step,
                        "seconds": seconds,
                        "running": running,
                        "curve": curve,
                    },
                    temporary,
                )
    model.eval()
    return {
        "steps": step,
        "tokens_seen": step * batch * spec["sequence"],
        "tokens_in_corpus": len(ids),
        "seconds": round(seconds),
        "training_loss": round(running, 4),
        "heldout_loss": round(heldout_loss(model, heldout, length), 4),
        "device": torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads",
        "curve": curve,
    }


def _batch_rows(step: int, batch: int, rows: int, seed: int) -> torch.Tensor:
    """Row numbers of one batch: a new seeded order each epoch, so that a resumed run sees the same."""
    per_epoch = rows // batch
    epoch, place = divmod(step, per_epoch)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed + epoch))
    return order[place * batch : (place + 1) * batch]


@torch.no_grad()
def heldout_loss(model: Qwen3ForCausalLM, ids: np.ndarray, length: int, batch: int = 32) -> float:
    """Mean cross-entropy (nats per token) over rows of `length` tokens; exp() of it is the perplexity."""
    rows = torch.from_numpy(ids[: len(ids) // length * length].reshape(-1, length)).long()
    total = 0.0
    for start in range(0, len(rows), batch):
        x = rows[start : start + batch].to(model.device)
        logits = model(input_ids=x[:, :-1]).logits.float()
        total += F.cross_entropy(logits.flatten(0, 1), x[:, 1:].flatten(), reduction="sum").item()
    return total / (len(rows) * (length - 1))


@torch.no_grad()
def continuations(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str]) -> list[str]:
    """What the model writes after each prompt, greedily with a repetition penalty, at most 48 tokens."""
    written = []
    for prompt in prompts:
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"].to(model.device)
        out = model.generate(ids, max_new_tokens=48, do_sample=False, repetition_penalty=1.3)
        written.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip())
    return written
