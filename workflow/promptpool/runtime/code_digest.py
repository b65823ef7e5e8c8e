"""What a rule's result depends on in the package's own code, as one digest for the rule's params.

Snakemake watches a script file, not what the script imports. `code_digest("embed_checkpoint")` starts at
workflow/scripts/embed_checkpoint.py and follows every name to its definition: a function, class or constant. It covers
what each of them computes (computation.py), not how it is worded, named or documented. So:

- rewording an error message, a log line, a docstring, a type hint or a field of a sidecar runs no job;
- renaming a definition, moving it to another module, or changing one that no stage uses runs no job;
- changing a computation runs exactly the stages that reach its definition.

Why no hand-kept version number for each stage: it must be raised by hand, and until it is, Snakemake would treat an old
result as up to date. A user who edits a pooling in a checkout must get a new result.
"""

import ast
import builtins
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path

from ..artifacts.files import atomic_path
from ..errors import PromptpoolError
from .computation import Computation
from .syntax_trees import walk, without_collector

PACKAGE = Path(__file__).parents[1]
SCRIPTS: Path | None = None  # None: beside the package, as in a checkout
NAME = "promptpool"
# These affect no artifact's content: how files are written and fetched, how a job runs and how it fails. The results of
# config and study reach a stage through its params and inputs, which Snakemake compares.
UNCOUNTED = ("artifacts", "errors", "hub", "runtime", "config", "study")
COUNTED = {("artifacts.files", "text_digest"), ("artifacts.files", "file_digest")}  # these seed, sort and split
SETUP = ""  # the statements of a module that define nothing

INHERITED = "PROMPTPOOL_CODE"  # the environment variable that passes digests on to the processes of jobs

Definition = tuple[str, str]  # module, name
_KNOWN: dict[tuple, object] = {}  # (function, its arguments) -> what it gave


def remembered(function: Callable) -> Callable:
    """Like functools.cache, but what was read of one module can be dropped again, for tests that edit sources."""

    @wraps(function)
    def known(*given: object) -> object:
        key = (function.__name__, *given)
        if key not in _KNOWN:
            _KNOWN[key] = function(*given)
        return _KNOWN[key]

    return known


@dataclass(frozen=True)
class Source:
    """One module: name -> the statements that define it, and name -> what an import binds it to."""

    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)  # (package module or "", the rest of the name)


def use_scripts(folder: str | Path) -> None:
    """Sets the folder of the workflow's scripts, which is not beside an installed package."""
    global SCRIPTS
    SCRIPTS = Path(folder)


def recall_digests(path: str | Path) -> None:
    """Takes the digests that an earlier Snakemake kept, if the sources are the same: parsing them takes seconds."""
    if INHERITED in os.environ:
        return
    try:
        kept = json.loads(Path(path).read_text(encoding="utf-8"))
        if kept["state"] == _state() and all(isinstance(value, str) for value in kept["digests"].values()):
            os.environ[INHERITED] = json.dumps(kept)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return


def keep_digests(path: str | Path) -> None:
    """Keeps the digests for the next Snakemake. Without a place to write to, that one parses the sources again."""
    path, content = Path(path), os.environ.get(INHERITED, "")
    with contextlib.suppress(OSError, PromptpoolError):
        if content and not (path.is_file() and path.read_text(encoding="utf-8") == content):
            with atomic_path(path) as temporary:
                temporary.write_text(content, encoding="utf-8")


def code_digest(script: str, *more: str) -> str:
    """Digest of what workflow/scripts/{script}.py computes, with all that it reaches in the package. 16 hex digits.

    more: definitions that are looked up by name when the stage runs, such as `generation.openai_backend.OpenAIBackend`.
    """
    state = _state()
    inherited = json.loads(os.environ.get(INHERITED, "{}"))
    known = inherited["digests"] if inherited.get("state") == state else {}
    wanted = " ".join([script, *more])
    if wanted not in known:
        with without_collector():
            known[wanted] = digest_of(computations(script, *more))
        os.environ[INHERITED] = json.dumps({"state": state, "digests": known})
    return known[wanted]


def digest_of(computed: dict[Definition, str]) -> str:
    return hashlib.sha256("\0".join(computed.values()).encode()).hexdigest()[:16]


@remembered
def _state() -> str:
    """Changes when a source file does. Lets the process of each job skip parsing the sources again."""
    folders = (PACKAGE, SCRIPTS or PACKAGE.parent / "scripts")
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix != ".pyc"]
    states = [f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}" for path in files if (stat := path.stat())]
    return hashlib.sha256("\0".join([sys.version, *states]).encode()).hexdigest()


def computations(script: str, *more: str) -> dict[Definition, str]:
    """Definition -> what it computes, for all that a stage reaches, in the order in which it reaches them.

    A reference to a definition is its place in that order, not its name.
    """
    order: dict[Definition, int] = {(f"scripts/{script}", SETUP): 0}
    for word in more:
        module, _, name = word.rpartition(".")
        if name not in source(module).definitions:
            raise ValueError(f"{word}: no such definition in the package")
        order.setdefault((module, name), len(order))
    found: dict[Definition, str] = {}
    waiting = list(order)
    for definition in waiting:  # grows
        text, reached = computation(definition)
        waiting += [other for other in reached if other not in order]
        places = [order.setdefault(other, len(order)) for other in reached]
        found[definition] = text + "".join(f" @{place}" for place in places) + resources(definition)
    return found


@remembered
def computation(definition: Definition) -> tuple[str, tuple[Definition, ...]]:
    """What one definition computes, with numbers for the package's names, and the definitions of these numbers."""
    module, name = definition
    reached: dict[Definition, int] = {}

    def call(target: Definition) -> str:
        return f"@{reached.setdefault(target, len(reached))}"

    work = Computation(lambda known: meaning(module, known), call, silent)
    texts = [text for statement in source(module).definitions.get(name, []) if (text := work.text(statement))]
    if name != SETUP and source(module).definitions.get(SETUP):
        call((module, SETUP))
    return "\n".join(texts), tuple(reached)


@remembered
def silent(definition: Definition, depth: int = 2) -> frozenset[int | str]:
    """Parameters of a function, by place and by name, that reach only messages. Their values do not matter."""
    module, name = definition
    statements = source(module).definitions.get(name, [])
    if depth == 0 or len(statements) != 1 or not isinstance(statements[0], ast.FunctionDef):
        return frozenset()
    work = Computation(
        lambda known: meaning(module, known), "{0[0]}.{0[1]}".format, lambda other: silent(other, depth - 1)
    )
    return work.unused(statements[0])


def meaning(module: str, name: str) -> Definition | str | None:
    """What a name means in a module: a definition of the package, the full name of something else, or None.

    name: dotted, such as `np.mean`. If the module imports a whole package module as `np`, this is its `mean`.
    """
    head, _, rest = name.partition(".")
    known = source(module)
    if head == NAME and rest and file_of(rest).is_file():
        return f"{NAME}.{rest}" if _uncounted(rest) else (rest, "*")
    if head in known.definitions:
        return None if rest else _counted(module, head)
    if head not in known.imports:
        return f"builtins.{name}" if not rest and hasattr(builtins, name) else None
    target, inner = known.imports[head]
    if not target:
        return f"{inner}.{rest}" if rest else inner
    if inner:
        return None if rest else meaning(target, inner)
    if rest:
        return None if "." in rest else meaning(target, rest)
    return (target, "*") if not _uncounted(target) else f"{NAME}.{target}"


def _uncounted(module: str) -> bool:
    return module.partition(".")[0] in UNCOUNTED


def _counted(module: str, name: str) -> Definition | str:
    """The definition, or a bare word for one that is not counted: moving it to another module changes nothing."""
    return f"{NAME}.{name}" if _uncounted(module) and (module, name) not in COUNTED else (module, name)


@remembered
def source(module: str) -> Source:
    """The definitions and imports of a module, such as `embedding.pooling`, or of a script, `scripts/gather_scores`."""
    script = module.startswith("scripts/")
    tree = ast.parse(file_of(module).read_text(encoding="utf-8"))
    found = Source()
    for node in walk(tree):
        for name, target in _imports(node, module):
            found.imports[name] = target
    for node in tree.body:
        names = [] if script else _names(node)
        if not isinstance(node, ast.Import | ast.ImportFrom) and not _is_main(node):
            for name in names or [SETUP]:
                found.definitions.setdefault(name, []).append(node)
    if not script:  # the whole module, for use as a value
        whole = [node for nodes in found.definitions.values() for node in nodes]
        found.definitions["*"] = list(dict.fromkeys(whole))
    setup = found.definitions.get(SETUP, [])
    if not any(Computation(lambda _: None, str, silent=lambda _: frozenset()).text(node) for node in setup):
        found.definitions.pop(SETUP, None)
    return found


def _is_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in {n.id for n in walk(node.test) if isinstance(n, ast.Name)}


def _names(node: ast.stmt) -> list[str]:
    """The names that a module's statement defines or adds to."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    if not isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return []
    return [part.id for target in targets for part in walk(target) if isinstance(part, ast.Name)]


def _imports(node: ast.AST, module: str) -> Iterator[tuple[str, tuple[str, str]]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield (
                alias.asname or alias.name.partition(".")[0],
                ("", alias.name if alias.asname else alias.name.partition(".")[0]),
            )
    if isinstance(node, ast.ImportFrom):
        steps = module.split(".")[: -node.level] if node.level else []
        steps += node.module.split(".") if node.module else []
        if not node.level and steps[0] != NAME:
            for alias in node.names:
                yield alias.asname or alias.name, ("", ".".join([*steps, alias.name]))
            return
        steps = steps if node.level else steps[1:]
        for alias in node.names:
            inner = ".".join([*steps, alias.name])
            is_module = file_of(inner).is_file() or PACKAGE.joinpath(*inner.split("."), "__init__.py").is_file()
            place = (inner, "") if is_module else (".".join(steps), alias.name)
            yield alias.asname or alias.name, place


def file_of(module: str) -> Path:
    if module.startswith("scripts/"):
        return (SCRIPTS or PACKAGE.parent / "scripts") / f"{module.removeprefix('scripts/')}.py"
    return PACKAGE.joinpath(*module.split(".")).with_suffix(".py")


@remembered
def resources(definition: Definition) -> str:
    """Digest of the package's file that a constant names: the content of a word list is part of the result.

    A file of the machine, such as /proc/meminfo, is another one each time and is not part of it.
    """
    module, name = definition
    found = []
    for node in source(module).definitions.get(name, []):
        if name not in (SETUP, "*") and isinstance(node, ast.Assign | ast.AnnAssign):
            texts = [p for p in walk(node) if isinstance(p, ast.Constant) and p.value and isinstance(p.value, str)]
            words = [part.value for part in sorted(texts, key=lambda part: (part.lineno, part.col_offset))]
            path = file_of(module).parent.joinpath(*words)
            if path.is_file() and path.resolve().is_relative_to(PACKAGE.resolve()):
                found.append(hashlib.sha256(path.read_bytes()).hexdigest())
    return " ".join(["", *found])
