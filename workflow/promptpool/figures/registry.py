"""Every figure, one entry each. Rules, captions, alternative texts and the report's sections follow from it.

To add a figure, write its drawing function in a module of this folder and its entry in FIGURES. The function takes
tables by name and `out`, a path without suffix, and writes `out`.svg and `out`.png (`style.drawing` does both).

Every Snakemake process imports this module, so it imports nothing that draws or reads tables.
"""

from collections.abc import Sequence

from ..tasks.published import published_scores
from .asked import adapter_tables, benchmark_options, has_short_vectors, map_title, over_adapters, trained
from .entry import Figure, StudyView


def _all_tasks(study: StudyView) -> list[str]:
    """The facts.json of every task."""
    return _facts(study, study["tasks"])


def _facts(study: StudyView, tasks: Sequence[str]) -> list[str]:
    return [f"{study.results}/tasks/{task}/facts.json" for task in tasks]


def _scores(study: StudyView, name: str = "") -> dict[str, list[str]]:
    """The scores of all tasks, with the facts that intervals need."""
    return {"scores": [f"{study.results}/scores.parquet"], "facts": _all_tasks(study), "measure": _all_tasks(study)}


def _scores_and_costs(study: StudyView, name: str = "") -> dict[str, list[str]]:
    return {**_scores(study), "costs": [f"{study.results}/costs/{model}.parquet" for model in study["grid"]["models"]]}


def _ablation(study: StudyView, name: str) -> dict[str, list[str]]:
    """One ablation's table."""
    return {
        "table": [f"{study.results}/ablations/{name}.parquet"],
        "measure": _facts(study, study.ablation_tasks(name)),
    }


def _steps(study: StudyView, name: str) -> dict[str, list[str]]:
    facts = _facts(study, study.ablation_tasks(name))
    scores, table = f"{study.results}/scores.parquet", f"{study.results}/ablations/{name}.parquet"
    return {"scores": [scores], "steps_table": [table], "facts": facts, "measure": facts}


def _attention_summary(study: StudyView, name: str) -> dict[str, list[str]]:
    return {"summary": [f"{study.results}/attention_summary.parquet"]}


# Within a section, figures have this order in report.html.
FIGURES: tuple[Figure, ...] = (
    Figure(
        name="heat_map",
        drawing="scores.heat_map",
        inputs=_scores,
        when=lambda study: bool(study["tasks"]),
        title="heat map",
        category="Scores",
        section="headline",
        caption="Mean score over all tasks, and half its 95 % interval, for every prompt and pooling. Each checkpoint "
        "has a panel, the untuned model first, and all panels share one colour scale. A hatched cell was not scored on "
        "every task; it is missing, not zero.",
        alt="Heat maps, one for each checkpoint: prompts down, poolings across, the mean score in each cell.",
    ),
    Figure(
        name="cost_scores",
        drawing="layers.cost_scores",
        inputs=_scores_and_costs,
        when=lambda study: bool(study["tasks"]),
        title="score by cost",
        category="Scores",
        section="headline",
        caption="Mean score by the cost of embedding one text with this variant alone, in floating-point operations. "
        "The cost is computed from the model's shape and the tokens of prompt and text; it is not timed, because "
        "seconds depend on the machine. A LoRA adapter is merged and costs nothing more. Large marks, with 95 % "
        "intervals, are variants that no cheaper one of the same checkpoint beats; small marks are all others. The "
        "cost excludes training and writing pairs. Baselines are drawn as lines because they have no such cost.",
        alt="Scatter plot of the mean score against the operations that embed one text, by checkpoint.",
    ),
    Figure(
        name="size_scores",
        drawing="sizes.size_scores",
        inputs=_scores_and_costs,
        when=has_short_vectors,
        title="score by size",
        category="Scores",
        section="headline",
        caption="Mean score by the bytes that one text's vector takes: whole, cut to its first dimensions, in bytes or "
        "bits. Large marks, with 95 % intervals, are each checkpoint's best variant of a size. All are read from the "
        "same stored vectors. Baselines are drawn as lines.",
        alt="Scatter plot of the mean score against the bytes of a vector, by checkpoint.",
    ),
    Figure(
        name="layer_curves",
        drawing="layers.layer_curves",
        inputs=_scores_and_costs,
        title="score by layer",
        category="Scores",
        section="headline",
        when=lambda study: len(study["grid"]["layers"]) > 1,
        caption="Mean score by the layer that is pooled (0: the embeddings), one line for each pooling as it comes. "
        "Panels show the untuned model and the best checkpoint of each adapter, each under the prompt that does best "
        "at any layer. Bars are 95 % intervals. A gap in a line, with a cross at the foot, is a layer that was not "
        "scored on every task.",
        alt="Line charts of the mean score against the layer that is pooled, a line for each pooling.",
    ),
    Figure(
        name="text_map",
        drawing="map.text_map",
        inputs=lambda study, name: {"table": [f"{study.results}/map.parquet"]},
        options=map_title,
        title="map of texts",
        category="Scores",
        section="map",
        when=lambda study: study.map_spec() is not None,
        caption="The same texts of one task before and after tuning, each panel with its own t-SNE, coloured by label "
        "(the most frequent ones; others grey). Distances across a map and the sizes of its islands mean nothing. The "
        "number above a panel has a meaning: it is the share of a text's ten nearest neighbours, in the full space, "
        "that have its label, with the 95 % interval over texts.",
        alt="Maps of one task's texts by t-SNE, coloured by label, before and after tuning.",
    ),
    Figure(
        name="benchmark",
        drawing="benchmark.benchmark",
        inputs=_scores,
        options=benchmark_options,
        title="benchmark",
        category="Scores",
        section="benchmarks",
        per="benchmark",
        names=lambda study: sorted(study["benchmarks"]),
        caption="The average over all tasks of a benchmark, for each checkpoint. Short lines are all its variants. The "
        "dot is the best one with its 95 % interval, named below (prompt, pooling, and the layer if it is not the "
        "last). If the run has exactly a benchmark's tasks and data, averages that others have published are dashed "
        "lines. Others measured those, perhaps with another version of MTEB. A checkpoint that lacks a task has no "
        "average.",
        alt="Dot plot of each checkpoint's best average over the benchmark, with 95 % intervals and baselines.",
    ),
    Figure(
        name="ablation",
        drawing="scores.ablation",
        inputs=_ablation,
        title="ablation",
        category="Ablations",
        section="ablations",
        per="ablation",
        names=lambda study: sorted(study["ablations"]),
        caption="The effect of one choice: the difference in score to the baseline, with everything else fixed. Black "
        "is the mean over tasks, colours are single tasks, and bars are 95 % intervals of the paired difference. A bar "
        "that crosses the line at zero shows no clear effect. The mean score is at the right. If there are several "
        "tasks, the numbers beside it count the tasks whose interval is above zero, contains it, and is below it. "
        "If two things vary, it is a table: each cell has its score and, below, its difference to the framed baseline.",
        alt="Dot plot of the differences to the baseline with 95 % intervals; the table beside it has the numbers.",
    ),
    Figure(
        name="score_by_step",
        drawing="scores.score_by_step",
        inputs=_steps,
        options=lambda study, name: {"lines": published_scores(study.config, study.ablation_tasks(name))},
        title="score by step",
        category="Training",
        section="headline",
        per="ablation",
        names=over_adapters,
        caption="Mean score during training, one line for each adapter, from the untuned model at step 0. Bars are "
        "95 % intervals of the difference to the baseline. The dotted line is the score of random vectors, the dashed "
        "line that of TF-IDF with SVD; a method below either has gained nothing. Bands are their 95 % intervals. "
        "Purple dashed lines, if there are any, are averages that others have published on exactly these tasks.",
        alt="Line chart of the mean score against the training step, with the baselines as lines.",
    ),
    Figure(
        name="tuned",
        drawing="tuned.tuned",
        inputs=_ablation,
        title="tuned against untuned",
        category="Training",
        section="headline",
        per="ablation",
        names=lambda study: [one for one in over_adapters(study) if study["ablations"][one]["baseline"] == "base"],
        caption="Tuned against untuned, task by task, the largest gain first. For each adapter, the checkpoint with "
        "the highest mean is shown; picking it on these scores flatters it a little. The hollow dot is the untuned "
        "model under the same prompt and pooling. Bars are 95 % intervals of the paired difference; the interval of a "
        "grey dot contains the untuned score. A task without a dot was not scored.",
        alt="Dumbbells, one for each task: the untuned and the tuned score, with the difference's 95 % interval.",
    ),
    Figure(
        name="training_curves",
        drawing="training.training_curves",
        inputs=adapter_tables,
        title="training curves",
        category="Training",
        section="training",
        when=lambda study: bool(trained(study)),
        caption="Training by step, one line for each adapter: the loss; the in-batch accuracy (how often a text's "
        "nearest positive of the step is its own); and, if pairs were held out by source text, how often a held-out "
        "text finds its own positive among all held-out positives, with 95 % intervals and the untuned model at step "
        "0. Losses and in-batch accuracies are not comparable between batch sizes, temperatures or masks, because a "
        "larger batch has more negatives. Held-out accuracies are comparable if the pairs are the same.",
        alt="Line charts by training step, a line for each adapter: loss, in-batch and held-out accuracy.",
    ),
    Figure(
        name="pairs_qc",
        drawing="pairs.pairs_qc",
        inputs=lambda study, name: {"qc": [f"{study.results}/pairs/{one}/qc.json" for one in sorted(study["pairs"])]},
        title="quality of pairs",
        category="Pairs",
        section="pairs",
        when=lambda study: bool(study["pairs"]),
        caption="Training pairs by style: the share that was kept, the number of words in text and positive, the "
        "similarity of the two (normalised edit similarity), and the share of the positives' n-grams that are "
        "distinct. Below, the number of pairs left out for each reason.",
        alt="By style: bars of pairs kept, histograms of length and similarity, distinct n-grams; reasons counted.",
    ),
    Figure(
        name="attention_bars",
        drawing="attention.attention_bars",
        inputs=lambda study, name: {"shown": [f"{study.results}/attention.parquet"]},
        title="one sentence, token by token",
        category="Attention",
        section="attention",
        when=lambda study: bool(study.attention_states()),
        caption="Where the last token looks in the last layer, averaged over heads, for one sentence: untuned, after "
        "the first kept step and after the last. Colours separate the prompt from the text and, in the text, content "
        "words from function words and punctuation. The first token often draws attention whatever it is, so it has "
        "no bar; its share is above each panel.",
        alt="Bar charts of the last token's attention to each token of one sentence, by checkpoint.",
    ),
    Figure(
        name="attention_spans",
        drawing="attention.attention_spans",
        inputs=_attention_summary,
        title="share of each span",
        category="Attention",
        section="attention",
        when=lambda study: bool(study.attention_states()),
        caption="The shares of the last token's attention that go to the first token, the prompt's prefix, the text's "
        "content words, its function words and punctuation, the prompt's suffix, and the last token itself. They are "
        "means over texts, heads and layers. A whisker at the end of a part is its 95 % interval. If a prompt lacks a "
        "span, its bar lacks that colour. The sentence of the bar chart is not among the texts.",
        alt="Stacked bars of the attention that each span of the input gets, by checkpoint, with intervals.",
    ),
    Figure(
        name="attention_layers",
        drawing="attention.attention_layers",
        inputs=_attention_summary,
        title="content words by layer",
        category="Attention",
        section="attention",
        when=lambda study: bool(study.attention_states()),
        caption="The content words' share of the last token's attention, layer by layer (0 is the first), untuned and "
        "at each checkpoint. A number is grey if Holm's test over all differences of this run's attention finds no "
        "difference from the untuned model at 5 %; the report's table has the intervals. White: not measured.",
        alt="Heat maps of the attention that content words get, layers down, checkpoints across.",
    ),
    Figure(
        name="omissions",
        drawing="omissions.omissions",
        inputs=lambda study, name: {"summary": [f"{study.results}/omission_summary.parquet"]},
        title="left-out words",
        category="Attention",
        section="attention",
        when=lambda study: bool(study.attention_states()) and study.omitted_texts() > 0,
        caption="How much more a content word does than a function word. Each word of a text is left out in turn, and "
        "its effect is how far the last token's vector moves (1 minus the cosine). The dot is the mean effect of a "
        "content word divided by that of a function word, with its 95 % interval over texts. At 1 both do as much.",
        alt="Dots with intervals: the effect of leaving out a content word relative to a function word, by checkpoint.",
    ),
    Figure(
        name="value_norms",
        drawing="value_norms.value_norms",
        inputs=lambda study, name: {"summary": [f"{study.results}/value_norm_summary.parquet"]},
        title="attention and values",
        category="Attention",
        section="attention",
        when=lambda study: bool(study.attention_states()) and study.weighs_values(),
        caption="Where the last token looks (ring), and what it takes from there (dot): shares of its attention, and "
        "of its attention weighted by the norms of the values, with 95 % intervals over texts. A span with much "
        "attention and small values, as the first token often is, adds little to the embedding.",
        alt="Rings and dots with intervals: two shares of content words and of the first token, by checkpoint.",
    ),
)


def find(file: str, figures: Sequence[Figure] | None = None) -> tuple[Figure, str]:
    """(the entry, its name or "") for a figure's file name without suffix.

    Raises ValueError if no entry draws that file.
    """
    figures = FIGURES if figures is None else figures
    for figure in sorted(figures, key=lambda one: -len(one.name)):  # the longest first: `tuned_by_task_`, then `tuned_`
        if not figure.per and file == figure.name:
            return figure, ""
        if figure.per and file.startswith(f"{figure.name}_"):
            return figure, file.removeprefix(f"{figure.name}_")
    raise ValueError(f"no figure is called {file!r}; figures/registry.py lists them")
