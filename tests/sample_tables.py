"""Made-up results in the formats that the stages write: a base, two adapters of three steps, two or three tasks."""

from itertools import product
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from promptpool.attention.summarise_attention import summary_table
from promptpool.attention.summarise_omissions import omission_summary
from promptpool.attention.summarise_value_norms import with_plain
from promptpool.attention.table import ATTENTION_SCHEMA, OMISSION_COLUMNS, SHOWN_COLUMNS

PROMPTS = {"none": 0.0, "eol": 0.03, "cluster": 0.06}
POOLINGS = {"mean": 0.04, "last": 0.0, "eos": -0.02, "weighted": 0.05, "attention": 0.03}
TASKS = {"DocstringSummaries": 0.24, "DocstringParagraphs": 0.31, "StdlibTopics": 0.19}
CHECKPOINTS = [("base", 0), *((name, step) for name in ("halves", "synthetic") for step in (20, 40, 80))]
TOKENS = 'This| sentence|:| "|Return| the| shortest| path| between| two| nodes|.|"| belongs| to| the| cluster|:'
ABLATION = ["ablation", "task", "value", "baseline", "score", "estimate", "low", "high", "p", "p_holm", "n"]
RANKING = ["wins", "ties", "losses", "rank", "rank_low", "rank_high", "best", "p_best"]
SPANS = ["sink", *["prefix"] * 3, "content", "function", *["content"] * 2, "function", *["content"] * 2, "function"]
SPANS += ["suffix"] * 5 + ["itself"]


def sample_scores() -> pd.DataFrame:
    """The tidy scores of 7 checkpoints x 3 prompts x 5 poolings x 3 tasks x 3 experiments, and two baselines."""
    rng, rows = np.random.default_rng(1), []

    def add(variant: tuple, level: float) -> None:
        for task, start in TASKS.items():
            for experiment in range(3):
                value = start + level + rng.normal(0, 0.01)
                for metric, shown in (("v_measure", value), ("ami", value - 0.1), ("main_score", value)):
                    rows.append((*variant, task, "test", "default", "0", experiment, metric, shown, None))
            replicates = start + level + rng.normal(0, 0.01, 20)
            rows.append(
                (*variant, task, "test", "default", "all", 0, "main_score_bootstrap", start + level, replicates)
            )

    for adapter, step in CHECKPOINTS:
        for prompt, bought in PROMPTS.items():
            for pooling, worth in POOLINGS.items():
                add(("nano-docs", adapter, step, prompt, pooling, -1), bought + worth + step / 800)
    add(("random", "baseline", 0, "none", "none", 0), -0.15)
    add(("tfidf-svd", "baseline", 0, "none", "none", 0), 0.08)
    columns = "model adapter step prompt pooling layer task split subset level experiment metric value replicates"
    return pd.DataFrame(rows, columns=columns.split())


def sample_ablation(name: str, baseline: str, effects: dict[str, float]) -> pd.DataFrame:
    """One ablation's table: each value's difference to the baseline, by task and for their mean, and ranks."""
    rng, rows = np.random.default_rng(2), []
    order = sorted(effects, key=lambda value: -effects[value])
    for value, effect in effects.items():
        for task, start in {**TASKS, "mean": 0.25}.items():
            own = value == baseline
            estimate = 0.0 if own else effect + (0 if task == "mean" else rng.normal(0, 0.02))
            wide = 0.0 if own else 0.01 if task == "mean" else 0.02
            place = order.index(value) + 1
            ranking = (2, 1, 0, place, place - 0.5, place + 0.5, 3 * (place == 1), 0.9 / place)
            rows.append((name, task, value, baseline, start + estimate, estimate, estimate - wide, estimate + wide,
                         0.01, 0.02, 30, *(ranking if task == "mean" else [np.nan] * len(RANKING))))  # fmt: skip
    return pd.DataFrame(rows, columns=ABLATION + RANKING)


def sample_facts() -> dict[str, dict]:
    """What statistics and figures know of the three tasks: plain bootstraps of as many documents as there are."""
    documents = {"test/default": 200}
    fact = {"main_score": "v_measure", "experiments": "bootstrap", "draws": 200, "documents": documents}
    return {task: {**fact, "type": "Clustering"} for task in TASKS}


def sample_layers(layers: tuple = (0, 2, 4)) -> pd.DataFrame:
    """The scores at three more layers; the deeper the better."""
    base = sample_scores()
    own = base[base["adapter"] != "baseline"]
    return pd.concat([base, *(own.assign(layer=n, value=own["value"] - 0.02 * (5 - n)) for n in layers)])


def sample_costs(layers: dict = {0: 0, 2: 2, 4: 4, -1: 5}, depth: int = 5) -> pd.DataFrame:  # noqa: B006
    """measure_costs's table: a prompt adds 10 tokens to a text of 30, an EOS one."""
    rows = []
    for place, prompt in enumerate(PROMPTS):
        for eos in (False, True):
            for layer, number in layers.items():
                tokens = 30 + 10 * place + eos
                rows.append(("nano-docs", prompt, eos, layer, number, depth, tokens, 2e6 * tokens * number, 300, 256))
    columns = ["model", "prompt", "eos", "layer", "number", "depth", "tokens", "flops", "texts", "hidden"]
    return pd.DataFrame(rows, columns=columns)


def sample_short() -> pd.DataFrame:
    """The scores with shorter and smaller vectors, which keep less the smaller they are."""
    base = sample_scores()
    own = base[base["adapter"] != "baseline"]
    forms = {"cut(64)": 0.01, "cut(16)": 0.04, "int8": 0.001, "binary": 0.03, "cut(64)+int8": 0.011}
    cut = (own.assign(pooling=own["pooling"] + f"+{form}", value=own["value"] - less) for form, less in forms.items())
    return pd.concat([base, *cut])


def sample_map(texts: int = 60, labels: int = 10, words: str = "Return item") -> pd.DataFrame:
    """map_texts's table of base and one checkpoint, labels of falling size, nearer together after tuning."""
    rng, tables = np.random.default_rng(5), []
    label = np.minimum(rng.geometric(0.3, texts) - 1, labels - 1)
    for adapter, step, wide in (("base", 0, 0.5), ("halves", 80, 0.15)):
        place = np.stack([np.cos(label), np.sin(label)], 1) * 0.5 + rng.normal(0, wide / 2, (texts, 2))
        place = place.clip(-1, 1)
        tables.append(pd.DataFrame({
            "adapter": adapter, "step": step, "text": [f"{words} {i}" for i in range(texts)],
            "label": [f"topic {n}" for n in label], "x": place[:, 0], "y": place[:, 1],
            "same": rng.uniform(0, 1, texts) * (0.4 if adapter == "base" else 0.8),
        }))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def sample_steps() -> pd.DataFrame:
    effects = {"base": 0.0} | {f"{name}@{step}": step / 800 for name, step in CHECKPOINTS[1:]}
    return sample_ablation("steps", "base", effects)


def sample_summary() -> pd.DataFrame:
    """The headline rows: scores, and differences over the mean and by task."""
    variant = ("nano-docs", "halves", 80, "cluster", "weighted", -1)
    floor = ("baseline", 0, "none", "none", 0)
    gain = ("best tuned - tfidf-svd", "difference")
    tuned = "nano-docs, halves@80, prompt cluster, weighted"
    rows = [
        ("random", "score", "mean", "random", "random", *floor, 0.10, 0.09, 0.11, 3, 0, 0.014, 1, 1),
        ("tfidf-svd", "score", "mean", "tfidf-svd", "tfidf-svd", *floor, 0.33, 0.32, 0.34, 3, 0, 0.014, 5, 1),
        ("best tuned", "score", "mean", tuned, *variant, 0.42, 0.41, 0.43, 3, 0, 0.014, 30, 2),
        (*gain, "mean", tuned, *variant, 0.09, 0.08, 0.10, 3, 0.001, 0.014, 150, 2),
        (*gain, "StdlibTopics", tuned, *variant, -0.02, -0.05, 0.01, 1, 0.2, 0.043, 150, 2),
    ]
    columns = ["row", "kind", "task", "label", "model", "adapter", "step", "prompt", "pooling", "layer"]
    return pd.DataFrame(rows, columns=[*columns, "score", "low", "high", "n", "p", "detectable", "of", "seeds"])


def sample_attention(
    texts: int = 5, text: str = "Return the shortest path between two nodes.", checkpoints: list = CHECKPOINTS,
    prompts: tuple = ("cluster",), layers: tuple = (0, 1, 2, 3),
) -> pa.Table:  # fmt: skip
    """attention.parquet: training moves attention from the prefix to the content words, in later layers more."""
    tokens, rows = TOKENS.split("|"), []
    for adapter, step in checkpoints:
        for prompt, layer, text_id in product(prompts, layers, range(texts)):
            rng = np.random.default_rng([3, layer, text_id])
            gain = 1 + step * layer / 60
            weights = rng.gamma(1.0, 1.0, len(tokens)) * np.where(np.array(SPANS) == "content", gain, 1.0)
            weights[0] = weights.sum() / 4
            weights /= weights.sum()
            shares = {span: weights[np.array(SPANS) == span].sum() for span in dict.fromkeys(SPANS)}
            place = {"model": "nano-docs", "adapter": adapter, "step": step, "prompt": prompt, "layer": layer}
            shown = {"text": f"{text} ({text_id})", "tokens": tokens, "spans": SPANS, "weights": weights.tolist()}
            rows.append({**place, "head": -1, "text_id": text_id, **shares, "entropy": 2.0, "length": 18, **shown})
    return pa.Table.from_pylist(rows, schema=ATTENTION_SCHEMA)


def sample_shown(**changes) -> pd.DataFrame:
    """What read_shown reads of it."""
    return sample_attention(**changes).to_pandas()[SHOWN_COLUMNS]


def sample_attention_summary(**changes) -> pd.DataFrame:
    with TemporaryDirectory() as folder:
        pq.write_table(sample_attention(**changes), f"{folder}/part.parquet")
        return summary_table([f"{folder}/part.parquet"])


def sample_value_norm_summary(**changes) -> pd.DataFrame:
    """Attention by value norms: as attention, but the first token carries a fifth of what it weighs."""
    plain = sample_attention_summary(**changes)
    weighted = plain.copy()
    columns = ["share", "share_low", "share_high", "estimate", "low", "high"]
    weighted.loc[weighted["span"] == "sink", columns] *= 0.2
    weighted.loc[weighted["span"] == "content", columns] *= 1.2
    return with_plain(weighted, plain)


def sample_omission_summary(prompts: tuple = ("cluster",)) -> pd.DataFrame:
    """What leaving out words does: training makes content words do more."""
    rng, rows = np.random.default_rng(3), []
    for (adapter, step), prompt, text_id, number in product(CHECKPOINTS, prompts, range(1, 9), range(6)):
        kind = "content" if number % 2 else "function"
        effect = rng.gamma(4.0) * (2 + step / 40 if kind == "content" else 1) / 100
        rows.append(("nano-docs", adapter, step, prompt, text_id, f"word{number}", kind, effect))
    return omission_summary(pd.DataFrame(rows, columns=OMISSION_COLUMNS))


def sample_training() -> dict[str, pd.DataFrame]:
    steps = np.arange(1, 81)
    return {
        name: pd.DataFrame({"step": steps, "loss": start * np.exp(-steps / 30) + 0.4, "learning_rate": 5e-4})
        for name, start in (("halves", 3.0), ("synthetic", 3.4))
    }


STYLES = ("detail", "simple", "teacher", "metaphor", "question", "backtranslate", "summarize", "keywords", "halves")
REASONS = {"echo": 0.05, "near-duplicate": 0.03, "empty": 0.002, "boilerplate": 0.02, "leaked_instruction": 0.01,
           "length": 0.015, "language": 0.004}  # fmt: skip


def sample_style(number: int, asked: int = 500) -> dict:
    """What qc.json says of one style: the later the style, the shorter its positives and the more of them echo."""
    rng = np.random.default_rng(number)
    rejected = {reason: int(asked * share * rng.uniform(0, 2)) for reason, share in REASONS.items()}
    rejected = {reason: count for reason, count in rejected.items() if count}
    accepted = asked - sum(rejected.values())
    lengths = {"text": rng.poisson(20, accepted), "positive": rng.poisson(45 - 4 * number, accepted)}
    words = {side: np.unique(np.minimum(drawn, 100), return_counts=True) for side, drawn in lengths.items()}
    close = np.unique((rng.beta(2 + number, 5, accepted) * 20).astype(int), return_counts=True)
    return {
        "asked": asked,
        "accepted": accepted,
        "rejected": rejected,
        "words": {side: {str(n): int(rows) for n, rows in zip(*found, strict=True)} for side, found in words.items()},
        "similarity": {f"{place * 0.05:.2f}": int(rows) for place, rows in zip(*close, strict=True)},
        **{f"distinct_{n}": round(float(share), 4) for n, share in zip((1, 2, 3), (0.3, 0.7, 0.93), strict=True)},
    }


def sample_set(styles: int, first: int = 0, model: bool = True) -> dict:
    """The qc.json of one pair set of so many styles; `model`: whether a language model wrote it."""
    parts = {name: sample_style(first + i) for i, name in enumerate(STYLES[first : first + styles])}
    reasons = {reason for part in parts.values() for reason in part["rejected"]}
    return {
        "asked": sum(part["asked"] for part in parts.values()),
        "accepted": sum(part["accepted"] for part in parts.values()),
        "rejected": {reason: sum(part["rejected"].get(reason, 0) for part in parts.values()) for reason in reasons},
        "attempts": {"1": 2300, "2": 150, "3": 50},
        "contamination": {"exact": 1, "near": 2, "tasks": {"DocstringSummaries": 3}},
        "tokens": {"prompt": 100_000, "written": 80_000} if model else None,
        "tokens_per_second": 812.5 if model else None,
        "cut": {"written": 21, "accepted": 4} if model else {"written": 0, "accepted": 0},
        "seconds": 98.4,
        "styles": parts,
    }


def sample_qc(styles: int = 2) -> dict[str, dict]:
    """One set of `styles` styles by a language model, and one that needs none."""
    return {"rewritten": sample_set(styles), "halves": sample_set(1, first=8, model=False)}


def sample_pairs(count: int = 60, style: str = "continue") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "text": [f"Return item {i} of the list." for i in range(count)],
            "positive": [f"The item at place {i} is returned, counted from zero." for i in range(count)],
            "style": style,
            "source_id": [f"numpy.{i}" for i in range(count)],
        }
    )


def sample_verdict(words: str = "halves") -> dict:
    """verdict.json of a tuned model that is better than the untuned one, and no better than counting words."""
    shares = {"tuned": 0.712, "untuned": 0.603, "TF-IDF": 0.7, "BM25": 0.72}
    scores = {name: {"value": value, "low": value - 0.04, "high": value + 0.04} for name, value in shares.items()}
    differences = {
        name: {"value": 0.712 - value, "low": 0.672 - value, "high": 0.752 - value, "p": 0.01, "detectable": 0.06}
        for name, value in shares.items()
        if name != "tuned"
    }
    return {
        "verdict": "better", "line": f"Better: tuned finds more ({words}).", "advice": [words], "n": 512,
        "caveat": f"These pairs ({words}) come from the same texts.", "decides": "recall@1", "pooling": "last",
        "checkpoint": {"model": "small", "adapter": words, "step": 40}, "prompt": {"name": words, "template": words},
        "measures": {name: {"scores": scores, "differences": differences} for name in ("recall@1", "ndcg@10")},
    }  # fmt: skip


def sample_serving(words: str = "a text") -> dict:
    """What check_serving found of three servers: one that passes, one that needs ids, one that did not start."""
    way = {"sent": "texts", "in_words": "plain texts", "lowest_cosine": 0.999999, "texts_that_differ": 0,
           "first_that_differs": None, "texts_per_second": 123.4}  # fmt: skip
    lost = {**way, "lowest_cosine": -0.25, "texts_that_differ": 100, "texts_per_second": None,
            "first_that_differs": {"text": words, "cosine": -0.25}}  # fmt: skip
    known = {"version": "1.2", "machine": words, "wrong": "", "passed": True}
    servers = [
        {**known, "name": "vLLM", "ways": [way]},
        {
            **known,
            "name": "llama.cpp",
            "wrong": "the prompt is lost",
            "ways": [lost, {**way, "sent": "ids", "in_words": "ids"}],
        },
        {"name": "Text Embeddings Inference", "passed": False, "fault": words},
    ]
    return {"texts": 100, "least": 0.9999, "servers": servers}
