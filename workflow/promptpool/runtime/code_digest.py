"""Digests of the package's own code, for a rule's params: Snakemake does not watch what a script imports."""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
# What these do is not in an artifact's content: how files are written, and how faults are told.
UNCOUNTED = {"artifacts.files", "errors", "artifacts.integrity"}


def code_digest(module: str) -> str:
    """Digest of a module, `embedding.embedder` say, and of all package modules that it imports, at any depth. 16 hex
    digits.

    Comments, docstrings and layout do not count: editing one makes no job run again.
    """
    digest = hashlib.sha256()
    for name in sorted(_closure(module)):
        digest.update(name.encode() + b"\0" + _meaning(name).encode() + b"\0")
    return digest.hexdigest()[:16]


def _closure(module: str) -> set[str]:
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found and name not in UNCOUNTED:
            found.add(name)
            waiting += _imports(name)
    return found


@cache
def _tree(name: str) -> ast.Module:
    return ast.parse(_file(name).read_text(encoding="utf-8"))


def _file(name: str) -> Path:
    return PACKAGE.joinpath(*name.split(".")).with_suffix(".py")


@cache
def _imports(name: str) -> tuple[str, ...]:
    """Package modules that a module imports, also inside its functions."""
    names = []
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.ImportFrom) and node.level:
            steps = [*name.split(".")[: -node.level], *(node.module.split(".") if node.module else [])]
            names += [".".join(steps), *(".".join([*steps, alias.name]) for alias in node.names)]
    return tuple(name for name in names if name and _file(name).is_file())


@cache
def _meaning(name: str) -> str:
    """The syntax tree without docstrings, as text."""
    tree = ast.parse(_file(name).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                body[0] = ast.Pass()
    return ast.dump(tree)
