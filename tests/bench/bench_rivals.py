"""Two rivals that need no training, on a run's clustering tasks, against the last token as it is.

    python tests/bench/bench_rivals.py results/RUN [--adapter FOLDER] [--rewrites 4]

- Token prepending (Fu et al. 2024, arXiv 2412.11556): a placeholder stands before the text. Before each of the first
  layers its state is replaced by the last token's, so that the text's tokens can see the end of the sentence before.
- Rewrites (GenEOL, Thirukovalluru and Dhingra 2024, arXiv 2410.14635): the mean of the unit vectors of a text and of
  what a language model writes from it. The demo's model can only continue a text, so its continuations stand in.

Prints a table of V-measures and of paired differences, with 95 % intervals as in the workflow.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from promptpool.embedding.aggregation import unit
from promptpool.generation.backend import Request, WriterSetup, open_backend
from promptpool.models.backbone import load_backbone
from promptpool.models.decoder import decoder_layers
from promptpool.scoring.scored_task import ScoredTask
from promptpool.scoring.scorer import Scorer
from promptpool.statistics.estimates import interval, paired
from promptpool.statistics.samples import VARIANT, read_facts, samples_by_variant
from promptpool.templates import Composer, Template
from torch import Tensor

MODEL = "workflow/resources/nano-docs"
PROMPT = 'This sentence: "{text}" belongs to the following cluster:'
MOST_TOKENS, BATCH = 100, 64
PLAIN = "the last token"


class Encoder:
    """The last token's vectors of the last layer, under PROMPT."""

    def __init__(self, model: str, adapter: str | None):
        self.backbone = load_backbone(model, None, adapter, device="cpu", dtype="float32", attention="sdpa")
        self.composer = Composer(self.backbone.tokenizer, MOST_TOKENS)
        self.template = Template.parse("prompt", PROMPT)

    def ids(self, text: str, placeholder: bool) -> tuple[list[int], int]:
        """A prompted text's ids, and where its text (or the placeholder before it) begins."""
        composed = self.composer.compose(self.template, text)
        start = composed.bos + composed.prefix
        more = [self.backbone.tokenizer.bos_token_id] if placeholder else []
        return [*composed.ids[:start], *more, *composed.ids[start:]], start

    @torch.inference_mode()
    def vectors(self, texts: Sequence[str], prepended: int = 0) -> np.ndarray:
        """float32 [n, dim]. prepended: before how many layers, from the second, the placeholder's state is replaced."""
        made = [self.ids(text, prepended > 0) for text in texts]
        order = sorted(range(len(made)), key=lambda row: len(made[row][0]))
        out = np.empty((len(made), self.backbone.model.config.hidden_size), dtype=np.float32)
        for first in range(0, len(order), BATCH):
            rows = order[first : first + BATCH]
            lengths = torch.tensor([len(made[row][0]) for row in rows])
            ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
            for place, row in enumerate(rows):
                ids[place, : lengths[place]] = torch.tensor(made[row][0])
            places = torch.tensor([made[row][1] for row in rows])
            hooks = self._replacing(prepended, places, lengths - 1)
            mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
            found = self.backbone.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            for hook in hooks:
                hook.remove()
            out[rows] = found[torch.arange(len(rows)), lengths - 1].numpy()
        return out

    def _replacing(self, layers: int, places: Tensor, ends: Tensor) -> list:
        def replace(_module: object, given: tuple) -> tuple:
            states, every = given[0].clone(), torch.arange(len(places))
            states[every, places] = states[every, ends]
            return states, *given[1:]

        return [
            layer.register_forward_pre_hook(replace)
            for layer in list(decoder_layers(self.backbone.model))[1 : 1 + layers]
        ]


def continuations(texts: Sequence[str], count: int) -> list[list[str]]:
    """`count` continuations of each text by the untuned model; the text itself where nothing was written."""
    setup = WriterSetup(
        MODEL, None, {"max_new_tokens": 40, "temperature": 1.0, "top_p": 1.0}, {"batch_size": 128}, False, "cpu"
    )
    asked = [Request(f"{text}\n\n", False, seed) for seed in range(count) for text in texts]
    with open_backend("transformers", setup) as backend:
        written = backend.write(asked)
    n = len(texts)
    return [[one.text or text for one, text in zip(written[k * n :][:n], texts, strict=True)] for k in range(count)]


def columns(name: str) -> dict:
    """A variant's columns in the table of scores."""
    return dict(zip(VARIANT, (name, "base", 0, "cluster", "last", -1), strict=True))


def variants(encoder: Encoder, texts: Sequence[str], rewrites: int) -> Iterator[tuple[str, np.ndarray]]:
    """(name, vectors) of the plain readout and of its rivals."""
    plain = encoder.vectors(texts)
    yield PLAIN, plain
    for layers in range(1, encoder.backbone.model.config.num_hidden_layers):
        yield f"token prepending, {layers} layer{'s' * (layers > 1)}", encoder.vectors(texts, layers)
    written = [unit(plain), *(unit(encoder.vectors(one)) for one in continuations(texts, rewrites))]
    for count in (1, rewrites):
        name = f"with {count} continuation{'s' * (count > 1)}"
        yield name, np.mean(written[: count + 1], axis=0, dtype=np.float32)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("results", type=Path)
    asked.add_argument("--adapter")
    asked.add_argument("--rewrites", type=int, default=4)
    options = asked.parse_args()
    encoder = Encoder(MODEL, options.adapter)
    tables, facts = [], sorted(options.results.glob("tasks/*/facts.json"))
    for file in facts:
        task = file.parent
        known = str(task / "texts.parquet")
        scorer = Scorer(ScoredTask(task.name, {"source": "file"}, str(task / "labelled.parquet"), known))
        made = variants(encoder, pd.read_parquet(known)["text"].tolist(), options.rewrites)
        tables.append(scorer.score((columns(name), "bench", vectors) for name, vectors in made)[0])
    scores = samples_by_variant(pd.concat(tables), read_facts(map(str, facts)))
    plain = scores[tuple(columns(PLAIN).values())]
    print(f"| {options.adapter or 'untuned'} | V-measure | minus {PLAIN} |\n| --- | ---: | ---: |")
    for name in dict.fromkeys(name for table in tables for name in table["model"]):
        ours = scores[tuple(columns(name).values())]
        value, change = interval(ours), paired(ours, plain)
        moved = (
            f"{100 * change.estimate:+.1f} [{100 * change.low:.1f}, {100 * change.high:.1f}]" if name != PLAIN else ""
        )
        print(f"| {name} | {100 * value.estimate:.1f} [{100 * value.low:.1f}, {100 * value.high:.1f}] | {moved} |")


if __name__ == "__main__":
    main()
