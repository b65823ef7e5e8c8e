"""Every figure, one entry each. Rules, captions, alternative texts and the report's sections follow from it.

To add a figure, write its drawing function in a module of this folder and its entry in FIGURES. The function takes
tables by name and `out`, a path without suffix, and writes `out`.svg and `out`.png (`style.drawing` does both).

The Snakefile reads this module in every process, so it imports nothing that draws or reads tables.
"""

from collections.abc import Sequence

from ..tasks.published import published_scores
from .entry import Figure, StudyView


def _all_tasks(study: StudyView) -> list[str]:
    """The facts.json of every task."""
    return _facts(study, study["tasks"])


def _facts(study: StudyView, tasks: Sequence[str]) -> list[str]:
    return [f"{study.results}/tasks/{task}/facts.json" for task in tasks]


def _scores(study: StudyView, name: str = "") -> dict[str, list[str]]:
    """The scores of all tasks, with what intervals need to know of the tasks."""
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


def _adapters(study: StudyView, name: str) -> dict[str, list[str]]:
    folders = [f"{study.results}/adapters/{adapter}" for adapter in sorted(study["adapters"])]
    return {"logs": folders, "validations": folders}


def _over_adapters(study: StudyView) -> list[str]:
    """The ablations that vary the adapter."""
    return [name for name, spec in sorted(study["ablations"].items()) if spec["vary"] == "adapter"]


def _benchmark_options(study: StudyView, name: str) -> dict:
    tasks = list(study.benchmarks()[name])
    return {"title": study["benchmarks"][name]["name"], "tasks": tasks, "lines": published_scores(study.config, tasks)}


def _map_title(study: StudyView, name: str) -> dict:
    spec = study.map_spec()
    return {"title": f"{spec['task']}, prompt {spec['prompt']}, {spec['pooling']}"} if spec else {}


def _attention_summary(study: StudyView, name: str) -> dict[str, list[str]]:
    return {"summary": [f"{study.results}/attention_summary.parquet"]}


# The order is that of report.html within a section.
FIGURES: tuple[Figure, ...] = (
    Figure(
        name="heat_map",
        drawing="scores.heat_map",
        inputs=_scores,
        title="heat map",
        category="Scores",
        section="headline",
        caption="Mean score over all tasks, and half its 95 % interval, for every prompt and pooling, one panel for "
        "each checkpoint, the untuned model first. All panels share one colour scale. A hatched cell was not scored "
        "on every task; it is missing, not zero.",
        alt="Heat maps, one for each checkpoint: prompts down, poolings across, the mean score in each cell.",
    ),
    Figure(
        name="cost_scores",
        drawing="layers.cost_scores",
        inputs=_scores_and_costs,
        title="score by cost",
        category="Scores",
        section="headline",
        caption="Mean score by what it costs to embed one text with this variant alone, in floating-point operations: "
        "computed from the model's shape and the tokens of prompt and text, not timed, because seconds belong to a "
        "machine. A LoRA adapter is merged and costs nothing more. Large marks, with 95 % intervals, are variants "
        "that no cheaper one of the same checkpoint beats; small ones are all others. Training and the writing of "
        "pairs are not in it. Baselines are drawn as lines because they have no such cost.",
        alt="Scatter plot of the mean score against the operations that embed one text, by checkpoint.",
    ),
    Figure(
        name="layer_curves",
        drawing="layers.layer_curves",
        inputs=_scores_and_costs,
        title="score by layer",
        category="Scores",
        section="headline",
        when=lambda study: len(study["grid"]["layers"]) > 1,
        caption="Mean score by the layer that is pooled, 0 being the embeddings, a line a pooling; the untuned model "
        "and the best checkpoint of each adapter, each under the prompt that does best at any layer. Bars are 95 % "
        "intervals. A gap in a line, and a cross at the foot, is a layer that was not scored on every task.",
        alt="Line charts of the mean score against the layer that is pooled, a line for each pooling.",
    ),
    Figure(
        name="text_map",
        drawing="map.text_map",
        inputs=lambda study, name: {"table": [f"{study.results}/map.parquet"]},
        options=_map_title,
        title="map of texts",
        category="Scores",
        section="map",
        when=lambda study: study.map_spec() is not None,
        caption="The same texts of one task before and after tuning, each panel a t-SNE of its own, coloured by label "
        "(the most frequent ones; others grey). Distances across a map and the sizes of its islands mean nothing. The "
        "number above a panel does: how many of a text's ten nearest neighbours, in the full space, have its label; "
        "the interval is the 95 % one over texts.",
        alt="Maps of one task's texts by t-SNE, coloured by label, before and after tuning.",
    ),
    Figure(
        name="benchmark",
        drawing="benchmark.benchmark",
        inputs=_scores,
        options=_benchmark_options,
        title="benchmark",
        category="Scores",
        section="benchmarks",
        per="benchmark",
        names=lambda study: sorted(study["benchmarks"]),
        caption="The average over all tasks of a benchmark, for each checkpoint: short lines are all its variants, the "
        "dot is the best with its 95 % interval, named below (prompt, pooling, and the layer if it is not the last). "
        "Where the run has exactly a benchmark's tasks and data, averages that others have published are drawn as "
        "dashed lines; nobody measured them here, and other versions of MTEB may have. A checkpoint that lacks a task "
        "has no average.",
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
        caption="What one choice is worth: the difference in score to the baseline, with everything else held fixed. "
        "Black is the mean over tasks, colours are single tasks, and bars are 95 % intervals of the paired "
        "difference. A bar that crosses the line at zero shows no clear effect. At the right stand the mean score "
        "and, where there are several tasks, on how many of them the interval lies above zero, around it and below "
        "it.",
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
        names=_over_adapters,
        caption="Mean score as training goes on, a line for each adapter, starting from the untuned model at step 0. "
        "Bars are 95 % intervals of the difference to the baseline. The dotted line is what random vectors score and "
        "the dashed line is TF-IDF with SVD; a method below either has gained nothing. Bands are their 95 % "
        "intervals. Purple dashed lines, if there are any, are averages that others have published on exactly these "
        "tasks.",
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
        names=lambda study: [one for one in _over_adapters(study) if study["ablations"][one]["baseline"] == "base"],
        caption="Tuned against untuned, task by task, the largest gain first; of each adapter the checkpoint with the "
        "highest mean is shown, and picking it on these scores flatters it a little. The hollow dot is the untuned "
        "model under the same prompt and pooling. Bars are 95 % intervals of the paired difference: a grey dot's "
        "interval holds the untuned score. A task without a dot was not scored.",
        alt="Dumbbells, one for each task: the untuned and the tuned score, with the difference's 95 % interval.",
    ),
    Figure(
        name="training_curves",
        drawing="training.training_curves",
        inputs=_adapters,
        title="training curves",
        category="Training",
        section="training",
        when=lambda study: bool(study["adapters"]),
        caption="Training by step, a line for each adapter: the loss; how often a text is nearest its own positive "
        "among the step's (in-batch accuracy); and, where pairs were held out by source text, how often a held-out "
        "text finds its own positive among all of theirs, with 95 % intervals and the untuned model at step 0. Losses "
        "and in-batch accuracies of adapters with different batch sizes, temperatures or masks are not comparable: a "
        "larger batch has more negatives to tell apart. Held-out accuracies are, where the pairs are the same.",
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
        caption="Training pairs by style: the share that was kept, the words of text and positive, how alike the two "
        "are (normalised edit similarity), and the share of the positives' n-grams that are different. Below, how "
        "many pairs were left out for which reason.",
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
        "the first kept step and after the last. Colours separate the prompt from the text, and in the text the words "
        "that carry meaning from function words and punctuation. The first token often draws attention whatever it "
        "says, so it is no bar; its share stands above each panel.",
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
        caption="What the first token, the prompt's prefix, the text's content words, its function words and "
        "punctuation, the prompt's suffix and the last token itself get of the last token's attention: means over "
        "texts, heads and layers. A whisker at the end of a part is the 95 % interval of that part. A prompt that "
        "lacks a span has no part of that colour; the sentence of the bar chart is not among the texts.",
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
        caption="What content words get of the last token's attention, layer by layer (0 is the first), untuned and at "
        "each checkpoint. A number in grey is one that Holm's test over all differences of this run's attention does "
        "not tell from the untuned model's at 5 %; the report's table has the intervals. White: not measured.",
        alt="Heat maps of the attention that content words get, layers down, checkpoints across.",
    ),
)


def find(file: str, figures: Sequence[Figure] | None = None) -> tuple[Figure, str]:
    """(the entry, the name in question or "") of a figure's file name without suffix.

    Raises ValueError for a file that no entry draws.
    """
    figures = FIGURES if figures is None else figures
    for figure in sorted(figures, key=lambda one: -len(one.name)):  # the longest: `tuned_by_task_` goes before `tuned_`
        if not figure.per and file == figure.name:
            return figure, ""
        if figure.per and file.startswith(f"{figure.name}_"):
            return figure, file.removeprefix(f"{figure.name}_")
    raise ValueError(f"no figure is called {file!r}; figures/registry.py has those that there are")
