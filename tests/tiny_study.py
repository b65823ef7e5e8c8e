"""A study small enough to run whole in a test: a random model of two layers, 60 sentences, three topics."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml
from tiny import tiny_model

REPOSITORY = Path(__file__).parents[1]
WORDS = {
    "cooking": "bread dough oven flour yeast butter sugar knead bake crust recipe simmer",
    "sailing": "harbour mast anchor tide sail rudder keel breeze deck knot voyage helm",
    "music": "melody chord violin tempo rhythm octave harmony string bow sonata scale tune",
}
TIMEOUT = 900  # seconds: no Snakemake call may hang a test
DIGESTS: list[str] = []  # those of this project's code that the last Snakemake kept for the next
PYTHON = sys.executable  # what runs Snakemake here; tests/workflow puts a faster one in its place


def sentences(seed: int, a_topic: int) -> pd.DataFrame:
    """Seeded nonsense with a topic: columns text, label."""
    draw = random.Random(seed)
    rows = [
        (" ".join(["the", *draw.choices(words.split(), k=draw.randint(4, 9)), f"number {draw.randint(0, 999)}"]), topic)
        for topic, words in WORDS.items()
        for _ in range(a_topic)
    ]
    return pd.DataFrame(rows, columns=["text", "label"]).drop_duplicates("text")


def study() -> dict:
    """The config of the tiny study; its files lie in its own working directory."""
    return {
        "run": "tiny",
        "models": {"small": {"path": "model"}},
        "corpora": {"lines": {"source": "file", "path": "corpus.csv"}},
        "pairs": {
            "halves": {"corpus": "lines", "styles": ["halves"], "filters": {"min_words": 1}},
            "written": {
                "corpus": "lines", "styles": ["continue", "word-swap"], "model": "small", "max_new_tokens": 8,
                "shard_size": 20, "filters": {"min_words": 1},
            },
        },
        "adapters": {
            "tuned": {
                "model": "small", "pairs": ["halves"], "prompt": "cluster", "pooling": "last", "steps": [2, 4],
                "max_steps": 4, "batch_size": 8, "warmup_steps": 1, "learning_rate": 0.01, "max_text_tokens": 16,
            }
        },
        "prompts": {
            "none": "{text}",
            "eol": 'This sentence: "{text}" means in one word:',
            "cluster": 'This sentence: "{text}" belongs to the following cluster:',
        },
        "grid": {
            "models": ["small"], "adapters": "all", "prompts": ["none", "eol", "cluster"],
            "poolings": ["mean", "last", "eos", "weighted", "attention"], "max_text_tokens": 32,
        },
        "tasks": {"topics": {"source": "file", "path": "labelled.csv"}},
        "baselines": {"random": {"kind": "random", "dim": 16}, "tfidf-svd": {"kind": "tfidf-svd", "dim": 16}},
        "ablations": {
            "prompts": {
                "vary": "prompt", "baseline": "none",
                "fixed": {"model": "small", "adapter": "base", "pooling": "last", "layer": -1},
            },
            "steps": {
                "vary": "adapter", "baseline": "base",
                "fixed": {"model": "small", "prompt": "cluster", "pooling": "last", "layer": -1},
            },
        },
        "attention": {"prompts": ["cluster"], "texts": 4, "task": "topics", "sentence": "the oven and the bread"},
        "exports": {"out": {"model": "small", "adapter": "tuned@4", "prompt": "cluster", "pooling": "last"}},
    }  # fmt: skip


def prepare_study(folder: Path) -> Path:
    """Fills a folder with the tiny study's files: texts, labels, the model, study.yaml."""

    folder.mkdir(parents=True, exist_ok=True)
    sentences(1, 12).to_csv(folder / "labelled.csv", index=False)
    corpus = sentences(2, 30)
    corpus[["text"]].to_csv(folder / "corpus.csv", index=False)
    tiny_model(folder / "model", texts=corpus["text"].tolist())
    (folder / "study.yaml").write_text(yaml.safe_dump(study(), sort_keys=False))
    return folder


def snakemake(folder: Path, *arguments: str, config: dict | None = None, **environ: str) -> subprocess.CompletedProcess:
    """Runs the workflow on `folder` as its working directory, the way a user types it."""
    if config is not None:
        (folder / "study.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    command = [PYTHON, *snakemake_command(folder, *arguments)[1:]]
    environ = {**os.environ, **environ}
    kept = folder / ".snakemake/promptpool_code.json"
    if DIGESTS and not kept.exists():  # of the same checkout, else they are not taken
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(DIGESTS[-1])
    answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False, env=environ)
    if kept.exists():
        DIGESTS[:] = [kept.read_text()]
    return answer


def snakemake_command(folder: Path, *arguments: str) -> list[str]:
    """What `snakemake` runs."""
    return [
        sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(folder),
        "--configfile", str(folder / "study.yaml"), "--cores", "2", *arguments,
    ]  # fmt: skip


def jobs(answer: subprocess.CompletedProcess) -> dict[str, int]:
    """Rule -> number of jobs, from a dry run's first table; empty where there is nothing to be done."""
    assert answer.returncode == 0, answer.stdout + answer.stderr
    lines = (answer.stdout + answer.stderr).splitlines()
    if "Job stats:" not in lines:
        return {}
    counts = {}
    for line in lines[lines.index("Job stats:") + 3 :]:
        name, _, count = line.partition(" ")
        if name in ("", "total"):
            break
        counts[name] = int(count)
    counts.pop("all", None)
    return counts
