"""The adapters stage: contrastive LoRA fine-tuning through sentence-transformers' trainer."""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from peft import LoraConfig
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from transformers import AutoTokenizer, TrainerCallback, set_seed

from .artifacts import atomic_path, file_digest, remove, text_digest, write_sidecar
from .backbone import pick_device
from .errors import PromptpoolError
from .sentence_model import sentence_model
from .templates import SLOT, Composer, Template, format_joint

MICRO_BATCH = 32  # rows a cached forward holds at once; changes memory, not gradients


def train_adapter(
    pairs: Sequence[str],
    out: str,
    *,
    model: str,
    revision: str | None,
    spec: Mapping,
    template: str,
    scratch: str,
    device: str = "auto",
) -> None:
    """Trains one adapter and writes its weights at every named step, all at the end.

    pairs: parquet files; out: a directory that gets step-{step}/ (adapter_model.safetensors and its config) and
    training.parquet (step, loss, learning_rate, grad_norm). A killed job goes on from `scratch`, which is
    outside the declared outputs.
    """
    started = time.time()
    set_seed(spec["seed"])
    table = pd.concat([pd.read_parquet(path) for path in pairs], ignore_index=True)
    if len(table) < spec["batch_size"]:
        raise PromptpoolError(
            f"{', '.join(pairs)}: {len(table)} pairs are fewer than one batch of {spec['batch_size']}; "
            "lower batch_size or make more pairs"
        )
    place = pick_device(device)
    prompt, longest = Template.parse(spec["prompt"], template), spec["max_text_tokens"]
    texts = table[["text", "positive"]]
    if spec["tokenization"] == "joint":
        tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
        texts = texts.apply(lambda column: format_joint(tokenizer, prompt, column.tolist(), longest))
        longest += len(Composer(tokenizer, 1).piece(str(prompt)))  # room for the prompt, which is text now
        prompt = Template.parse(spec["prompt"], SLOT)
    tuned = sentence_model(model, prompt, spec["pooling"], longest, revision=revision, device=str(place))
    tuned.model_card_data.generate_widget_examples = False  # the trainer's own card is not kept
    lora = spec["lora"]
    tuned.add_adapter(
        LoraConfig(
            task_type="FEATURE_EXTRACTION",
            r=lora["rank"],
            lora_alpha=lora["alpha"],
            lora_dropout=lora["dropout"],
            target_modules=list(lora["target_modules"]),
        )
    )
    made_of = [repr(sorted(spec.items())), template, model, str(revision), *map(file_digest, pairs)]
    work = Path(scratch) / text_digest("\0".join(made_of))[:16]
    saver = SaveSteps(work, spec["steps"])
    trainer = SentenceTransformerTrainer(
        model=tuned,
        args=arguments(spec, work / "trainer", place),
        train_dataset=Dataset.from_pandas(texts, preserve_index=False),
        loss=loss_of(tuned, spec),
        callbacks=[saver],
    )
    trainer.train(resume_from_checkpoint=last_whole(work / "trainer"))
    losses = finite_losses(trainer.state.log_history, out)
    with atomic_path(out) as temporary:
        temporary.mkdir()
        for step in spec["steps"]:
            shutil.copytree(work / f"step-{step}", temporary / f"step-{step}")  # a move could lose it
        losses.to_parquet(temporary / "training.parquet", index=False)
    write_sidecar(
        out,
        inputs=pairs,
        spec={**spec, "lora": dict(spec["lora"]), "template": template},
        started=started,
        base_model=model,
        base_revision=revision,
        seed=spec["seed"],
        device=str(place),
        dtype="float32",
        pairs=len(table),
    )
    remove(scratch)


def last_whole(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end; what a kill left half written is removed."""
    whole = {}
    for path in folder.glob("checkpoint-*"):
        try:
            whole[json.loads((path / "trainer_state.json").read_text())["global_step"]] = path  # written last
        except (OSError, ValueError):
            remove(path)
    return str(whole[max(whole)]) if whole else None


def finite_losses(history: Sequence[Mapping], where: str) -> pd.DataFrame:
    """The trainer's log as a table of step, loss, learning_rate, grad_norm. PromptpoolError for a loss not finite."""
    losses = pd.DataFrame([entry for entry in history if "loss" in entry])
    losses = losses[["step", "loss", "learning_rate", "grad_norm"]]
    bad = losses.loc[~np.isfinite(losses["loss"]), "step"]
    if len(bad):
        raise PromptpoolError(f"{where}: the loss is not finite at step {bad.iloc[0]}; lower learning_rate")
    return losses


def loss_of(model, spec: Mapping) -> torch.nn.Module:
    """InfoNCE over cosine similarity / temperature, with the whole batch's negatives unless told otherwise."""
    if spec["negatives"] == "micro_batch":
        return MultipleNegativesRankingLoss(model, scale=1 / spec["temperature"])
    return CachedMultipleNegativesRankingLoss(
        model, scale=1 / spec["temperature"], mini_batch_size=spec["micro_batch_size"] or MICRO_BATCH
    )


def arguments(spec: Mapping, folder: Path, device: torch.device) -> SentenceTransformerTrainingArguments:
    micro = spec["negatives"] == "micro_batch"
    rows = (spec["micro_batch_size"] or MICRO_BATCH) if micro else spec["batch_size"]
    return SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        max_steps=spec["max_steps"],
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=max(1, spec["batch_size"] // rows) if micro else 1,
        learning_rate=spec["learning_rate"],
        warmup_steps=spec["warmup_steps"],
        weight_decay=spec["weight_decay"],
        batch_sampler="no_duplicates",
        seed=spec["seed"],
        data_seed=spec["seed"],
        use_cpu=device.type == "cpu",
        bf16=False,
        logging_steps=1,
        save_strategy="steps",
        save_steps=max(1, min(500, spec["max_steps"] // 4)),
        save_total_limit=2,
        report_to=[],
        dataloader_drop_last=True,
    )


class SaveSteps(TrainerCallback):
    """Saves the adapter alone at the named steps, whole or not at all."""

    def __init__(self, folder: Path, steps: Sequence[int]):
        self.folder, self.steps = folder, frozenset(steps)

    def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
        if state.global_step in self.steps:
            with atomic_path(self.folder / f"step-{state.global_step}") as temporary:
                model.transformers_model.save_pretrained(temporary)
