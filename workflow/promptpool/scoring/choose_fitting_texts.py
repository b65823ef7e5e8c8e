"""The fitting stage: unlabelled texts that post-processings are fitted on. None is a text of a task."""

import time
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from ..artifacts.files import text_digest, write_table
from ..errors import PromptpoolError
from ..pairs.contamination import contaminated
from ..text.normalisation import normalise

FEWEST = 20  # fewer texts say nothing of a spread
NEAR_A_TASK = 0.8  # share of a task text's word shingles at which another text counts as nearly the same


def choose_fitting_texts(
    out: str, sources: Mapping[str, str], tasks: Mapping[str, str], *, texts: int, seed: int
) -> None:
    """Writes a table: text, source. Each source gives about the same number, drawn by seeded digest.

    sources: name -> a parquet with the column `text` (pairs, or a corpus, of which the rows for training count);
    tasks: name -> its texts.parquet; texts: how many to choose. Texts that are, or nearly are, a task's are left out.
    Raises PromptpoolError if fewer than FEWEST are left.
    """
    started = time.time()
    known = [text for path in tasks.values() for text in pd.read_parquet(path, columns=["text"])["text"]]
    candidates = {name: in_drawn_order(pd.read_parquet(path), seed) for name, path in sources.items()}
    chosen: dict[str, str] = {}
    places, left_out = dict.fromkeys(candidates, 0), 0
    while len(chosen) < texts:
        open_ones = [name for name, own in candidates.items() if places[name] < len(own)]
        if not open_ones:
            break
        share = max(1, (texts - len(chosen)) // len(open_ones))
        for name in open_ones:
            own = candidates[name][places[name] : places[name] + share]
            places[name] += share
            clean = [text for text, hit in zip(own, contaminated(own, known, NEAR_A_TASK), strict=True) if hit is None]
            left_out += len(own) - len(clean)
            for text in clean:
                chosen.setdefault(text, name)
    table = pd.DataFrame(list(chosen.items())[:texts], columns=["text", "source"])
    if len(table) < FEWEST:
        raise PromptpoolError(
            f"fitting: {len(table)} texts are left of {', '.join(sources)}, without those of tasks, and at least "
            f"{FEWEST} are needed; name other corpora under fitting.corpora"
        )
    spec = {"texts": texts, "seed": seed}
    read = [*sources.values(), *tasks.values()]
    write_table(out, table, inputs=read, spec=spec, started=started, chosen=len(table), left_out=left_out)


def in_drawn_order(table: pd.DataFrame, seed: int) -> list[str]:
    """A source's texts, each once, in an order that other texts do not influence."""
    if "split" in table:
        table = table[table["split"] == "train"]
    own = table["text"].drop_duplicates()
    return sorted(own[own.str.strip() != ""], key=lambda text: text_digest(f"{seed}:{text}"))


def require_unlabelled(fitted: Iterable[str], texts: Sequence[str], task: str) -> None:
    """Raises PromptpoolError if statistics were fitted on a task's text: then they would know what they are to find."""
    known = set(map(normalise, texts)) - {""}
    for text in fitted:
        if normalise(text) in known:
            raise PromptpoolError(
                f"task {task}: post-processing was fitted on its text {text[:80]!r}; remove fitting/texts.parquet and "
                "run again, or name other corpora under fitting.corpora"
            )
