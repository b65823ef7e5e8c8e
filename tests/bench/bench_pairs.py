"""The pairs stage without a language model: seconds, peak memory and what is rejected.

    python tests/bench/bench_pairs.py TEXTS.parquet COLUMN [TASK.parquet COLUMN]...

Every text gets one of the five styles that need no language model; all filters but `semantic` judge it; duplicates,
near-duplicates and the tasks' texts are taken out. Prints JSON.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from promptpool.config.resolve import resolve
from promptpool.data.build_corpus import text_corpus
from promptpool.pairs.make_pairs import make_pairs
from promptpool.pairs.select_pairs import select_pairs
from promptpool.study.study import Study

STYLES = ["halves", "identity", "word-deletion", "word-swap", "character-noise"]


def study(texts: str) -> Study:
    """A config whose only set of pairs is the one measured; its filters are the defaults."""
    return Study(
        resolve(
            {
                "run": "bench",
                "models": {"none": {"path": "owner/none"}},
                "corpora": {"texts": {"source": "file", "path": texts}},
                "pairs": {"measured": {"corpus": "texts", "styles": STYLES}},
                "prompts": {"none": "{text}"},
                "grid": {"models": ["none"], "adapters": "all", "prompts": ["none"], "poolings": ["mean"]},
                "tasks": {"any": {"source": "mteb"}},
            }
        )
    )


def measure(texts: tuple[str, str], tasks: Sequence[tuple[str, str]]) -> Mapping:
    made = study(texts[0])
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        rows = pd.read_parquet(texts[0])[[texts[1]]].rename(columns={texts[1]: "text"}).dropna()
        text_corpus(rows).to_parquet(place / "corpus.parquet")
        known = {}
        for number, (path, column) in enumerate(tasks):
            known[f"task{number}"] = str(place / f"task{number}.parquet")
            pd.read_parquet(path)[[column]].rename(columns={column: "text"}).to_parquet(known[f"task{number}"])
        start = time.perf_counter()
        make_pairs(
            str(place / "corpus.parquet"), str(place / "written.parquet"), name="measured",
            spec=made.pairs_spec("measured"), shard_size=2000,
        )  # fmt: skip
        written = time.perf_counter()
        out = [str(place / name) for name in ("pairs.parquet", "rejected.parquet", "qc.json")]
        select_pairs(str(place / "written.parquet"), known, *out, name="measured", spec=made.selection_spec("measured"))
        end = time.perf_counter()
        qc = json.loads((place / "qc.json").read_text())
    return {
        "texts": len(rows),
        "seconds": {"write and judge": round(written - start, 1), "select": round(end - written, 1)},
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        **{key: qc[key] for key in ("asked", "accepted", "rejected", "attempts", "contamination")},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path_and_column", nargs="+", help="pairs of a parquet file and its column of texts")
    given = parser.parse_args().path_and_column
    named = list(zip(given[::2], given[1::2], strict=True))
    print(json.dumps(measure(named[0], named[1:]), indent=2, ensure_ascii=False))
