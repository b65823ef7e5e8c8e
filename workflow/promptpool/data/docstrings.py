"""The built-in corpus: docstrings of installed packages, read with `ast`, never imported.

It is real, human-written English that every installation already has, without hub or download.
"""

import ast
import gc
import inspect
import re
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path

import pandas as pd

from ..artifacts.files import text_digest
from ..errors import PromptpoolError
from ..text.normalisation import normalise

SKIPPED_FOLDERS = {"tests", "test", "testing", "_vendor", "vendor", "site-packages", "dist-packages", "idle_test"}
MAX_CHARACTERS = 6_000
SECTION = re.compile(
    r"^\s*(:param|:return|:rtype|Args?:|Arguments:|Parameters|Returns?:?|Raises:?|Examples?:*|>>>|\.\. )"
)
DOCSTRING_COLUMNS = ["id", "package", "label", "split", "summary", "paragraphs", "text"]


def read_docstrings(
    packages: Iterable[str], *, labelled: Iterable[str] = (), task_share: float = 0.4, workers: int = 1
) -> pd.DataFrame:
    """Docstrings of `packages` (import names; `stdlib` is the standard library), one row each.

    Columns: `id` (module:object), `package`, `label` (the subpackage; for the standard library the
    module), `split`, `summary` (first paragraph, one line), `paragraphs` (summary + up to three paragraphs
    of prose), `text` (the docstring without interactive examples, at most 6,000 characters).

    `split` is drawn from the digest of the summary: `task_share` of the `labelled` packages' rows are `task`, 2 % of
    all others `heldout`, the rest `train`. A row of any package that shares its summary, paragraphs or text with a
    task row is `task` too. Rows are unique by text and by summary + label, and sorted by id, so the result depends
    only on the installed versions.
    """
    files = [job for name in sorted(set(packages)) for job in _source_files(name)]
    # A syntax tree has no cycles, and looking for some takes a quarter of the time of parsing.
    with warnings.catch_warnings(), ProcessPoolExecutor(max_workers=workers, initializer=gc.disable) as pool:
        warnings.simplefilter("ignore")
        found = list(pool.map(_file_docstrings, files, chunksize=64))
    table = pd.DataFrame([row for rows in found for row in rows], columns=DOCSTRING_COLUMNS[:3] + DOCSTRING_COLUMNS[4:])
    table = table.sort_values("id", kind="stable").drop_duplicates("text").drop_duplicates(["summary", "label"])
    labelled = set(labelled)
    table["split"] = [
        _split(summary, package in labelled, task_share)
        for summary, package in zip(table["summary"], table["package"], strict=True)
    ]
    table.loc[_told_in_tasks(table), "split"] = "task"
    return table[DOCSTRING_COLUMNS].reset_index(drop=True)


def corpus_versions(packages: Iterable[str]) -> dict[str, str]:
    """Import name -> installed version, for the sidecar and the model card."""
    owners = metadata.packages_distributions()
    return {
        name: metadata.version(owners[name][0]) if name in owners else sysconfig.get_python_version()
        for name in sorted(set(packages))
    }


def _told_in_tasks(table: pd.DataFrame) -> pd.Series:
    """Rows of split `task`, and rows that share a text with them, directly or through others. None is for training."""
    keys = [table[column].map(normalise) for column in ("summary", "paragraphs", "text")]
    inside, before = table["split"] == "task", -1
    while inside.sum() > before:
        before = inside.sum()
        for key in keys:
            inside |= key.isin(set(key[inside]))
    return inside


def _split(summary: str, labelled: bool, task_share: float) -> str:
    draw = int(text_digest(normalise(summary))[:8], 16) / 0x1_0000_0000
    if labelled and draw < task_share:
        return "task"
    return "heldout" if draw >= 0.98 else "train"


def _source_files(name: str) -> list[tuple[str, Path, Path]]:
    root = Path(sysconfig.get_paths()["stdlib" if name == "stdlib" else "purelib"])
    folder = root if name == "stdlib" else root / name
    if not folder.is_dir():
        raise PromptpoolError(
            f"corpus docstrings: package {name!r} is not installed; install it or remove it from `packages`"
        )
    files = (path for path in folder.rglob("*.py") if not SKIPPED_FOLDERS & set(path.relative_to(root).parts))
    return [(name, root, path) for path in sorted(files)]


def _file_docstrings(job: tuple[str, Path, Path]) -> list[tuple]:
    package, root, path = job
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # a template, or a file for another Python version
        return []
    module = ".".join(path.relative_to(root).with_suffix("").parts)
    rows = []
    for name, docstring in _docstrings(tree):
        document = clean(docstring)
        if document:
            rows.append((f"{module}:{name}", package, topic_of(package, module), *document))
    return rows


def _docstrings(tree: ast.Module) -> Iterator[tuple[str, str]]:
    stack: list[tuple[str, ast.AST]] = [("", tree)]
    while stack:
        name, node = stack.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            if docstring:
                yield name, inspect.cleandoc(docstring)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):  # most of a tree, and it holds no definitions
                continue
            stack.append((f"{name}.{child.name}".lstrip(".") if hasattr(child, "name") else name, child))


def topic_of(package: str, module: str) -> str | None:
    """The label of a module: its subpackage, or None for private and top-level modules.

    `scipy.signal._filters` -> `scipy.signal`; `networkx.algorithms.flow.x` -> `networkx.flow`;
    in the standard library `email.mime.text` -> `email`.
    """
    parts = [part for part in module.split(".") if part != "__init__"]
    if package == "stdlib":
        return None if parts[0].startswith("_") else parts[0]
    if len(parts) > 2 and parts[1] == "algorithms":
        parts = [parts[0], *parts[2:]]
    if len(parts) < 2 or parts[1].startswith("_"):
        return None
    return ".".join(parts[:2])


def clean(docstring: str) -> tuple[str, str, str] | None:
    """(summary, paragraphs, text) of a docstring; None if the summary is not a sentence of four words."""
    blocks = [block.strip("\n") for block in re.split(r"\n\s*\n", docstring)]
    blocks = [block for block in blocks if block.strip() and not block.lstrip().startswith(">>>")]
    if not blocks:
        return None
    summary = " ".join(blocks[0].split())
    words = re.findall(r"[A-Za-z]{2,}", summary)
    if len(words) < 4 or len(summary) > 400 or sum(map(len, words)) < 0.5 * len(summary):
        return None
    prose = [summary]
    for block in blocks[1:]:
        if SECTION.match(block) or re.search(r"^\s*[-=~]{3,}\s*$", block, re.M) or len(prose) == 4:
            break
        prose.append(" ".join(block.split()))
    return summary, "\n".join(prose), "\n\n".join(blocks)[:MAX_CHARACTERS].rstrip()
