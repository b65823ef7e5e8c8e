"""Contrastive LoRA fine-tuning through sentence-transformers' trainer, in one process (of several on several GPUs)."""

import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from transformers import AutoConfig, AutoTokenizer, set_seed
from transformers.utils import logging

from ..artifacts.files import file_digest, remove, text_digest, write_json, write_sidecar
from ..artifacts.integrity import sealed
from ..errors import PromptpoolError
from ..hub.safe_loading import NO_CODE
from ..models.backbone import pick_device, require_tokenizer, vocabulary_digest
from ..models.precision import in_words, processor, training_dtype, training_precision
from ..templates import DOCUMENT, ROLE_OF_SIDE, SLOT, Composer, Template, by_role, format_joint, parsed
from .curves import curves_of, require_services
from .hard_negatives import filled, ids, sides
from .lora import CHUNK_TOKENS, live_tokens, tunable_model
from .losses import SMALLEST, InfoNCE, require_prefixes
from .packed import is_packed
from .pair_lengths import pair_lengths
from .published_noise import pairs_to_read
from .sampler import PairBatches
from .tracking import ProgressBar, training_table, validation_table
from .trainer import Checkpoints, ContrastiveTrainer, discard, last_whole
from .training_pairs import training_pairs
from .validation import best_step, validator

# How a training runs, which changes its result by rounding at most. `execution` of train_rank overrides it.
EXECUTION_DEFAULTS = {
    "micro_batch_size": None,
    "gradient_checkpointing": False,
    "attention": "sdpa",
    "tracking": {"tensorboard": True, "trackio": None, "wandb": None},
}


def train_rank(
    pairs: Sequence[str],
    out: str,
    *,
    model: str,
    revision: str | None,
    spec: Mapping,
    template: str | Mapping[str, str],
    scratch: str,
    device: str = "auto",
    execution: Mapping | None = None,
    causal: bool = True,
    negatives: str | None = None,
) -> None:
    """Trains one adapter and writes its weights at every named step, all at the end.

    pairs: parquet files (text, positive, style, source_id); negatives: their hard negatives, if the spec asks for any
    (`choose_negatives`). template: of all texts, or by role, and then the text is the query, the positive and the
    negatives are documents. out: a directory that gets step-{step}/ (adapter_model.safetensors and its config) and
    training.parquet (a row per step: `tracking.TRAINING_COLUMNS`). With a validation share it also gets
    validation.parquet (step, accuracy, n, low, high) and best_step.json; and tensorboard/. A killed job resumes from
    `scratch`, which is outside the declared outputs. execution: see EXECUTION_DEFAULTS. causal: false trains without
    the causal mask. As one of several ranks, it takes its share of every step, and the first rank writes. Raises
    PromptpoolError, one line, for too few pairs, a loss that is not finite, and what can't be written.
    """
    started = time.time()
    logging.disable_progress_bar()  # transformers draws one for every file it writes
    how = {**EXECUTION_DEFAULTS, **(execution or {}), "causal": causal}
    require_services(how["tracking"], out)
    place = pick_device(device)
    table, held = training_pairs(pairs, negatives, spec)
    whole = held  # as it is before a prompt is put round it
    inputs = [*pairs, *filter(None, [negatives])]
    # The weights' own digest, not their path: a scratch is resumed only if everything is the same.
    made_of = [repr(sorted(spec.items())), str(template), weights_identity(model, revision), *map(file_digest, inputs)]
    made_of += ["both_ways"] * (not causal)
    work = Path(scratch) / text_digest("\0".join(made_of))[:16]
    args = trainer_arguments(spec, work / "trainer", place, out)
    per_epoch = len(table) // spec["batch_size"]
    if not per_epoch:
        raise PromptpoolError(
            f"{', '.join(pairs)}: {len(table)} pairs are fewer than one batch of {spec['batch_size']}; "
            "lower batch_size or make more pairs"
        )
    args.max_steps = spec["max_steps"] or math.ceil(spec["epochs"] * per_epoch)
    if spec["steps"][-1] > args.max_steps:
        raise PromptpoolError(
            f"{out}: step {spec['steps'][-1]} is beyond the {args.max_steps} steps that {spec['epochs']} epochs of "
            f"{per_epoch} steps make; remove it from steps or raise epochs"
        )
    args.router_mapping = {} if isinstance(template, str) else dict(ROLE_OF_SIDE)
    args.save_steps = max(1, min(500, args.max_steps // 4))
    set_seed(spec["seed"])
    tuned, texts, held = prepared(table, held, model, revision, spec, template, args.device, how)
    require_tokenizer(tuned.tokenizer, tuned.transformers_model, model)
    checkpoints = Checkpoints(work, spec["steps"], validator(tuned, held) if len(held) else None)
    if how["micro_batch_size"] and spec["negatives"] == "batch":
        live, least = len(sides(texts)) * how["micro_batch_size"] * tuned.max_seq_length, 1
    else:
        live, least = live_tokens(tuned, place, how["gradient_checkpointing"]), SMALLEST
    batches = batches_of(table, tuned, texts, spec, args.per_device_train_batch_size)
    trainer = ContrastiveTrainer(
        model=tuned,
        args=args,
        train_dataset=pairs_to_read(
            table,
            texts,
            ids(texts),
            spec,
            lambda: batches.epoch,
            Template.parse(spec["prompt"], by_role(template)[DOCUMENT]),
            lambda: AutoTokenizer.from_pretrained(model, revision=revision, **NO_CODE),
        ),
        loss=loss_of(tuned, spec, live, max(least, min(CHUNK_TOKENS[place.type], live)), gather=args.world_size > 1),
        callbacks=[checkpoints, ProgressBar(Path(out).name), *curves_of(how["tracking"], work, out, spec)],
        batches=batches,
        where=out,
    )
    checkpoints.trainer = trainer
    with args.main_process_first(local=False):  # one rank cleans up, and all see the same
        remove(Path(scratch).with_name(f".gone-{Path(scratch).name}"))
        last = last_whole(work / "trainer")
    trainer.train(resume_from_checkpoint=last)
    if not trainer.is_world_process_zero():
        return
    with trainer.writing(Path(out)):
        facts = finish(trainer.state.log_history, work, out, spec["steps"])
    write_sidecar(
        out,
        inputs=inputs,
        spec={**spec, "lora": dict(spec["lora"]), "template": template},
        started=started,
        base_model=model,
        base_revision=revision,
        base_causal=causal,
        vocabulary=vocabulary_digest(tuned.tokenizer),
        seed=spec["seed"],
        device=str(place),
        dtype=str(training_dtype(spec["dtype"], place)).removeprefix("torch."),
        precision=in_words(training_precision(spec["dtype"], place)),
        processor=processor(place),
        pairs=len(table),
        held_out=len(held),
        text_lengths=pair_lengths(tuned.tokenizer, spec["max_text_tokens"], table, whole),
        max_steps=args.max_steps,
        ranks=args.world_size,
        packed=is_packed(tuned.transformers_model),
        **facts,
    )
    discard(Path(scratch))


def weights_identity(model: str, revision: str | None) -> str:
    """A digest of a model's directory, or the commit of a hub model."""
    if Path(model).is_dir():
        return file_digest(model)
    commit = getattr(AutoConfig.from_pretrained(model, revision=revision, **NO_CODE), "_commit_hash", None)
    return f"{model}@{commit or revision}"


def prepared(
    table: pd.DataFrame, held: pd.DataFrame, model: str, revision: str | None, spec: Mapping, template, device, how
) -> tuple[SentenceTransformer, pd.DataFrame, pd.DataFrame]:
    """The model to tune, and its pairs: unchanged, or put into the prompt if tokenization is `joint`."""
    prompt, longest = parsed(spec["prompt"], template), spec["max_text_tokens"]
    texts, held = table[sides(table)], held[["text", "positive"]]
    if spec["tokenization"] == "joint":
        tokenizer, whole = AutoTokenizer.from_pretrained(model, revision=revision, **NO_CODE), prompt
        texts, held = (
            filled(part)
            .apply(lambda column: format_joint(tokenizer, whole, column.tolist(), spec["max_text_tokens"]))
            .where(part.notna(), None)
            for part in (texts, held)
        )
        longest += len(Composer(tokenizer, 1).piece(str(prompt)))  # space for the prompt, which is now part of the text
        prompt = Template.parse(spec["prompt"], SLOT)
    tuned = tunable_model(
        model, prompt, spec, longest, revision=revision, device=device, dtype=training_dtype(spec["dtype"], device),
        attention=how["attention"], checkpointing=how["gradient_checkpointing"], causal=how["causal"],
    )  # fmt: skip
    return tuned, texts, held


def batches_of(table: pd.DataFrame, tuned: SentenceTransformer, texts: pd.DataFrame, spec: Mapping, rows: int):
    lengths = None
    if spec["group_by_length"]:
        limit = tuned.max_seq_length
        both = (texts["text"] + " " + texts["positive"]).tolist()
        lengths = np.concatenate([
            np.minimum(tuned.tokenizer(both[start : start + 4096], add_special_tokens=False, return_length=True,
                                       return_attention_mask=False, verbose=False)["length"], 2 * limit)
            for start in range(0, len(both), 4096)
        ])  # fmt: skip
    sets = range(len(spec["weights"])) if spec["weights"] else sorted(table["set"].unique())
    sizes = [int((table["set"] == number).sum()) for number in sets]
    if 0 in sizes:
        raise PromptpoolError(
            f"pairs: set {sizes.index(0) + 1} of {len(sizes)} has no pairs to train on; lower validation or remove it"
        )
    return PairBatches(
        sizes, spec["batch_size"], rows=rows, seed=spec["seed"], weights=spec["weights"], lengths=lengths
    )


def loss_of(model, spec: Mapping, live: int, chunk: int, gather: bool = False) -> InfoNCE:
    """The recipe's loss. With `negatives: micro_batch` a pair's negatives are those of its own micro-batch."""
    prefixes = spec.get("matryoshka") or ()
    require_prefixes(prefixes, model.get_embedding_dimension(), model.transformers_model.name_or_path)
    return InfoNCE(
        model,
        spec["temperature"],
        margin=spec["margin"],
        symmetric=spec["symmetric"],
        mask_duplicates=spec["mask_duplicates"],
        gather=gather and spec["negatives"] == "batch",
        block=spec["micro_batch_size"] if spec["negatives"] == "micro_batch" else None,
        prefixes=prefixes,
        live_tokens=live,
        chunk_tokens=chunk,
        packed=is_packed(model.transformers_model),
    )


def finish(history: Sequence[Mapping], work: Path, out: str, steps: Sequence[int]) -> dict:
    """Assembles the results in the scratch and renames them into place. Returns what the sidecar adds."""
    result = work / "result"
    remove(result)
    result.mkdir(parents=True)
    for step in steps:
        verify_step(work / f"step-{step}", work)
        shutil.copytree(work / f"step-{step}", result / f"step-{step}")  # a move could lose it
    training_table(history).to_parquet(result / "training.parquet", index=False)
    facts = {}
    validation = validation_table(history)
    if len(validation):
        validation.to_parquet(result / "validation.parquet", index=False)
        facts = best_step(validation)
        write_json(result / "best_step.json", facts)
    if (work / "tensorboard").is_dir():
        shutil.copytree(work / "tensorboard", result / "tensorboard")
    remove(out)
    os.replace(result, out)
    return {"best_step": facts.get("best_step")}


def verify_step(path: Path, work: Path) -> None:
    """Raises PromptpoolError if a checkpoint that waits for the end of training is not what was written."""
    if not sealed(path):
        raise PromptpoolError(f"{path}: damaged since it was written; remove {work.parent} and train again")


def trainer_arguments(
    spec: Mapping, folder: Path, device: torch.device, where: str
) -> SentenceTransformerTrainingArguments:
    """The trainer's arguments. Raises PromptpoolError if the ranks can't share a batch evenly."""
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    micro = spec["micro_batch_size"] if spec["negatives"] == "micro_batch" else spec["batch_size"] // ranks
    if spec["batch_size"] % (micro * ranks):
        raise PromptpoolError(
            f"{where}: a batch of {spec['batch_size']} can't be shared by {ranks} GPUs"
            + (f" in micro-batches of {micro}" if spec["negatives"] == "micro_batch" else "")
            + "; change batch_size or gpus"
        )
    args = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        max_steps=1,  # set once the pairs are counted
        per_device_train_batch_size=spec["batch_size"] // ranks,  # micro-batches too go through the model together
        learning_rate=spec["learning_rate"],
        warmup_steps=spec["warmup_steps"],
        weight_decay=spec["weight_decay"],
        seed=spec["seed"],
        data_seed=spec["seed"],
        use_cpu=device.type == "cpu",
        bf16=training_dtype(spec["dtype"], device) == torch.bfloat16,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        disable_tqdm=True,  # we have our own progress bar
        report_to=[],  # curves_of has its own, which can't end a training
        dataloader_drop_last=True,
        dataloader_pin_memory=False,  # the thread that makes batches uses no GPU, and ids are few bytes
        ddp_find_unused_parameters=False,
    )
    args._n_gpu = min(1, args.n_gpu)  # one process uses one GPU: never the trainer's own DataParallel
    return args
