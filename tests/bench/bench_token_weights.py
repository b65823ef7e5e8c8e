"""Means of a text's tokens under three kinds of weights, on a run's clustering tasks, against the last token.

    python tests/bench/bench_token_weights.py results/RUN [--sets TASK,TASK ...]

- `idf`: log((1 + n) / (1 + df)) of a token that df of n unlabelled texts hold.
- `sif`: a / (a + p) of a token's share p of all tokens of these texts, a = 0.001 (Arora, Liang and Ma 2017, "A simple
  but tough-to-beat baseline for sentence embeddings"), without the removal of a common component.
- `surprisal`: -log p(token | prompt and tokens before it), of the model itself.

The unlabelled texts are results/RUN/fitting/texts.parquet, none of them a task's. The last layer of the untuned model
is read, under the prompt of bench_rivals. Prints V-measures and paired differences with 95 % intervals as in the
workflow, a pair of columns for each of --sets.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from bench_rivals import BATCH, MODEL, PLAIN, Encoder, columns
from promptpool.scoring.scored_task import ScoredTask
from promptpool.scoring.scorer import Scorer
from promptpool.statistics.estimates import interval, paired
from promptpool.statistics.samples import read_facts, samples_by_variant
from torch import Tensor
from transformers import AutoModelForCausalLM

SIF_A = 1e-3


def corpus_weights(encoder: Encoder, texts: Sequence[str]) -> dict[str, Tensor]:
    """Weights of all tokens of the vocabulary, [vocabulary], by their name."""
    size = encoder.backbone.model.config.vocab_size
    held, count = torch.zeros(size), torch.zeros(size)
    for text in texts:
        ids = torch.tensor(encoder.backbone.tokenizer(text, add_special_tokens=False)["input_ids"])
        count.index_add_(0, ids, torch.ones(len(ids)))
        held[ids.unique()] += 1
    share = count / count.sum()
    return {"idf": torch.log((1 + len(texts)) / (1 + held)), "sif": SIF_A / (SIF_A + share)}


class Weigher:
    """One pass of the untuned model gives the last token and every weighted mean."""

    def __init__(self, fitted: Sequence[str]):
        self.encoder = Encoder(MODEL, None)
        self.head = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).lm_head
        self.weights = corpus_weights(self.encoder, fitted)

    @torch.inference_mode()
    def variants(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Name -> vectors, float32 [texts, dim]."""
        composer, template = self.encoder.composer, self.encoder.template
        made = [composer.compose(template, text) for text in texts]
        order = sorted(range(len(made)), key=lambda row: len(made[row].ids))
        names = [PLAIN, "mean", *self.weights, "surprisal"]
        width = self.encoder.backbone.model.config.hidden_size
        out = {name: np.empty((len(made), width), dtype=np.float32) for name in names}
        for first in range(0, len(order), BATCH):
            rows = order[first : first + BATCH]
            lengths = torch.tensor([len(made[row].ids) for row in rows])
            ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
            inside = torch.zeros(ids.shape, dtype=torch.bool)
            for place, row in enumerate(rows):
                one = made[row]
                ids[place, : len(one.ids)] = torch.tensor(one.ids)
                start = one.bos + one.prefix
                inside[place, start : start + one.text] = True
            mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
            states = self.encoder.backbone.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            told = torch.log_softmax(self.head(states[:, :-1]), -1)
            seen = torch.gather(told, 2, ids[:, 1:, None])[..., 0]
            weights = {"mean": torch.ones(ids.shape), **{name: own[ids] for name, own in self.weights.items()}}
            weights["surprisal"] = torch.cat([torch.zeros(len(rows), 1), -seen], dim=1)
            out[PLAIN][rows] = states[torch.arange(len(rows)), lengths - 1].numpy()
            for name, own in weights.items():
                masked = torch.where(inside, own, 0.0)
                masked = torch.where(masked.sum(1, keepdim=True) > 0, masked, inside.float())
                out[name][rows] = torch.einsum("nt,ntd->nd", masked / masked.sum(1, keepdim=True), states).numpy()
        return out


def scored(results: Path, names: Sequence[str], weigher: Weigher) -> Iterator[pd.DataFrame]:
    for name in names:
        task = results / "tasks" / name
        known = str(task / "texts.parquet")
        scorer = Scorer(ScoredTask(name, {"source": "file"}, str(task / "labelled.parquet"), known))
        made = weigher.variants(pd.read_parquet(known)["text"].tolist())
        yield scorer.score((columns(one), "bench", vectors) for one, vectors in made.items())[0]


def shown(found, sign: str = "") -> str:
    return f"{100 * found.estimate:{sign}.1f} [{100 * found.low:{sign}.1f}, {100 * found.high:{sign}.1f}]"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("results", type=Path)
    asked.add_argument("--sets", nargs="+", default=[])
    options = asked.parse_args()
    every = sorted(file.parent.name for file in options.results.glob("tasks/*/facts.json"))
    sets = [tuple(one.split(",")) for one in options.sets] or [tuple(every)]
    weigher = Weigher(pd.read_parquet(options.results / "fitting/texts.parquet")["text"].tolist())
    table = pd.concat(scored(options.results, [name for one in sets for name in one], weigher))
    facts = read_facts([str(options.results / "tasks" / name / "facts.json") for one in sets for name in one])
    scores = samples_by_variant(table, facts)
    print("| weights |" + "".join(f" {', '.join(one)} | minus {PLAIN} |" for one in sets))
    print("| --- |" + " ---: | ---: |" * len(sets))
    for name in dict.fromkeys(table["model"]):
        cells = []
        for one in sets:
            ours, plain = ({task: scores[tuple(columns(who).values())][task] for task in one} for who in (name, PLAIN))
            cells += [shown(interval(ours)), "" if name == PLAIN else shown(paired(ours, plain), "+")]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
