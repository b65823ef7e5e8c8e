"""Edits of the package's source for tests of what runs again: of words alone, or of what one definition computes.

They are written apart from runtime/computation.py, which they test: they look at the source and know no digests.
"""

import ast
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from promptpool.figures.registry import FIGURES
from promptpool.generation.backend import BACKENDS
from promptpool.runtime import code_digest
from sample_study import SampleStudy

WORKFLOW = Path(__file__).parents[1] / "workflow"
RULE = re.compile(r'code_digest\("(\w+)"')


def modules(room: Path) -> dict[str, Path]:
    """Name -> file of every module of a package that has something in it."""
    package = room / "promptpool"
    files = sorted(path for path in package.rglob("*.py") if path.stat().st_size)
    return {path.relative_to(package).with_suffix("").as_posix().replace("/", "."): path for path in files}


def forget(module: str | None = None) -> None:
    """Reads the sources again from now on, those of one module or all."""
    for key in list(code_digest._KNOWN):
        if module is None or (key[1:] and module in (key[1], key[1][0])):
            del code_digest._KNOWN[key]


def copy_of_workflow(room: Path) -> Path:
    for part in ("promptpool", "scripts"):
        shutil.copytree(WORKFLOW / part, room / part, ignore=shutil.ignore_patterns("__pycache__"))
    return room


def stages() -> dict[str, tuple[str, ...]]:
    """Name -> what code_digest is given for it, of every rule, each figure and each backend that writes pairs."""
    found = {}
    for path in sorted((WORKFLOW / "rules").glob("*.smk")):
        for script in RULE.findall(path.read_text(encoding="utf-8")):
            found[script] = (script,)
    found.pop("draw")
    study = SampleStudy("results")
    for figure in FIGURES:
        (name,) = figure.names(study)
        found[f"draw_{figure.name}"] = ("draw", *figure.code(study, name))
    found |= {
        f"make_pairs {kind}": ("make_pairs", f"generation.{backend}_backend.{kind}")
        for backend, kind in BACKENDS.items()
    }
    found["make_pairs semantic"] = ("make_pairs", "pairs.semantic.similarities")
    found["select_pairs words"] = ("select_pairs", "pairs.round_trip.round_trip_ranks")
    found["choose_negatives model"] = ("choose_negatives", "pairs.semantic.load_encoder")
    return found


# --- words ------------------------------------------------------------------------------------------

SAY = {"print", "warnings.warn", "_warn", "tell", "self.tell", "say", "logger.warning", "logger.info"}


class Reword(ast.NodeTransformer):
    """Other words in every docstring, error, printed line, progress bar and field of a sidecar; `count` of them."""

    def __init__(self) -> None:
        self.count = 0
        self.said = 0

    def visit(self, node: ast.AST) -> ast.AST:
        name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        says = isinstance(node, ast.Raise) or name in SAY or name.endswith("Error") or name == "write_sidecar"
        if name == "write_sidecar":
            for keyword in node.keywords:
                if keyword.arg and keyword.arg not in ("inputs", "spec", "started"):
                    keyword.arg += "_too"
                    self.count += 1
        if name == "tqdm":
            for keyword in node.keywords:
                if keyword.arg in ("desc", "unit"):
                    keyword.value = ast.Constant("another")
                    self.count += 1
        self.said += says
        node = super().visit(node)
        self.said -= says
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if self.said and isinstance(node.value, str):
            self.count += 1
            return ast.Constant(f"{node.value}, in other words")
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            self.count += 1
            return ast.Expr(ast.Constant(f"Now: {node.value.value}"))
        return self.generic_visit(node)


def reword(path: Path) -> int:
    """Changes all words in a module, and its comments; the number of places."""
    change = Reword()
    tree = change.visit(ast.parse(path.read_text(encoding="utf-8")))
    path.write_text("# A comment.\n" + ast.unparse(ast.fix_missing_locations(tree)), encoding="utf-8")
    return change.count


# --- computations -----------------------------------------------------------------------------------

SWAPS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Lt: ast.LtE, ast.LtE: ast.Lt,
         ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}  # fmt: skip


def changes(text: str) -> Iterator[tuple[str, Callable[[], str]]]:
    """Definition, and what gives the module's text with its computation changed: each function, method and constant.

    What a function returns is another operation or another number; where it has none, the value in a list; where it
    returns nothing, it does one thing more. A constant has another value, a class another field.
    """
    for place, (name, _) in enumerate(_places(ast.parse(text))):

        def changed(place: int = place) -> str:
            tree = ast.parse(text)
            list(_places(tree))[place][1]()
            return ast.unparse(ast.fix_missing_locations(tree))

        yield name, changed


def _places(tree: ast.Module) -> Iterator[tuple[str, Callable[[], None]]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, lambda node=node: _change_function(node)
        elif isinstance(node, ast.ClassDef):
            yield node.name, lambda node=node: node.body.append(ast.parse("changed = 1").body[0])
            for part in node.body:
                if isinstance(part, ast.FunctionDef):
                    yield f"{node.name}.{part.name}", lambda part=part: _change_function(part)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, lambda node=node: setattr(node, "value", ast.List([node.value], ast.Load()))


def _change_function(function: ast.FunctionDef) -> None:
    returned = [node for node in ast.walk(function) if isinstance(node, ast.Return) and node.value is not None]
    if not returned:
        function.body.insert(isinstance(function.body[0], ast.Expr), ast.parse("changed()").body[0])
        return
    value = returned[-1]
    for node in ast.walk(value):
        if isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
            node.op = SWAPS[type(node.op)]()
            return
        if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
            node.ops[0] = SWAPS[type(node.ops[0])]()
            return
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            node.value += 1
            return
    value.value = ast.List([value.value], ast.Load())


def change_all(text: str) -> str:
    """A module's text with what every one of its definitions computes changed; one without any does one thing more."""
    tree = ast.parse(text)
    places = list(_places(tree))
    for _, change in places:
        change()
    tree.body += [] if places else ast.parse("changed()").body
    return ast.unparse(ast.fix_missing_locations(tree))
