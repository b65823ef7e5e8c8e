"""What a definition computes, as text: its syntax tree without messages and without its choice of names."""

import ast
import builtins
from collections.abc import Callable

from .local_names import Meaning, Names, dotted, own_names
from .syntax_trees import FastVisits, copy, walk

# Calls whose only effect is a line for people, by the end of their name.
SAYS = {"builtins.print", "warnings.warn"}
LOGS = {"debug", "info", "warning", "error", "exception", "critical"}
CALLBACKS = {"tell", "say"}  # parameters and methods that take a message
BARS = {"set_postfix_str", "set_postfix", "set_description", "set_description_str"}
PROVENANCE = {"promptpool.write_sidecar"}
TABLES = {"promptpool.write_table"}  # also writes a sidecar, from its keyword arguments
# A value computed only by these has no other effect. It is left out if only a message used it.
QUIET = {
    "str", "repr", "len", "sorted", "list", "tuple", "set", "dict", "round", "min", "max", "sum", "any", "all", "type",
    "isinstance", "getattr", "range", "enumerate", "zip", "map", "filter", "abs", "int", "float", "vars", "bool",
    "join", "format", "strip", "split", "splitlines", "replace", "removeprefix", "removesuffix", "partition",
    "rpartition", "lower", "upper", "capitalize", "items", "keys", "values", "get", "time", "Path", "exists",
    "as_posix", "startswith", "endswith", "count", "index", "most_common", "Counter", "read_text",
}  # fmt: skip
BODIES = ("body", "orelse", "finalbody", "handlers", "cases")  # where a statement holds statements


class Computation(FastVisits, ast.NodeTransformer):
    """Reduces one statement of a module to what it computes.

    meaning: what a name of the module means; call: what to write for a definition of the package; silent: the
    parameters of a package function that reach only messages.
    """

    def __init__(self, meaning: Meaning, call: Callable, silent: Callable) -> None:
        self.meaning, self.call, self.silent = meaning, call, silent
        self.scopes: list[dict[str, str]] = []
        self.depth = 0

    def text(self, statement: ast.stmt) -> str:
        """The statement's computation; empty if it computes nothing."""
        node = self.reduced(statement)
        self.named = 0
        return "" if node is None else ast.dump(Names(self.meaning, self.call).visit(node), annotate_fields=False)

    def unused(self, function: ast.FunctionDef) -> frozenset[int | str]:
        """Parameters, by place and by name, that a function uses in no computation."""
        changed = [part for part in function.decorator_list if not isinstance(self.meaning(decorator(part)), str)]
        if function.args.vararg or function.args.kwarg or changed:
            return frozenset()
        node = self.reduced(function)
        used = {part.id for part in walk(node) if isinstance(part, ast.Name)}
        places = [arg.arg for arg in (*function.args.posonlyargs, *function.args.args)]
        words = [*places, *(arg.arg for arg in function.args.kwonlyargs)]
        return frozenset(
            [*(i for i, name in enumerate(places) if name not in used), *(n for n in words if n not in used)]
        )

    def reduced(self, statement: ast.stmt) -> ast.stmt | None:
        """Removes messages, then what only they used, until nothing changes."""
        node = self.visit(copy(statement))
        while isinstance(node, ast.stmt) and Unused(node).found:
            node = self.visit(node)
        return node

    # --- what is said ---------------------------------------------------------------------------------

    def visit_Expr(self, node: ast.Expr) -> ast.stmt | None:
        if isinstance(node.value, ast.Constant):
            return None  # a docstring
        if isinstance(node.value, ast.Call) and self.says(node.value):
            return None
        return self.generic_visit(node)

    def says(self, call: ast.Call) -> bool:
        name = dotted(call.func)
        last = name.rpartition(".")[2]
        if (isinstance(call.func, ast.Attribute) and last in BARS) or last in CALLBACKS:
            return True
        meant = self.meaning(name) if name else None
        if meant in SAYS | PROVENANCE:
            return True
        return isinstance(call.func, ast.Attribute) and last in LOGS and "log" in name.rpartition(".")[0].lower()

    def visit_Raise(self, node: ast.Raise) -> ast.Raise:
        node.cause = None
        if isinstance(node.exc, ast.Call):
            self.without_message(node.exc)
        return self.generic_visit(node)

    def without_message(self, call: ast.Call) -> None:
        """Removes the message from a raised call. The other arguments of the package's own exceptions stay."""
        meant = self.meaning(name) if (name := dotted(call.func)) else None
        if isinstance(meant, tuple) and self.is_fault(name, meant):
            call.args[:1] = [ast.Constant(None)] * bool(call.args)
        else:
            call.args, call.keywords = [], []

    def visit_Assert(self, node: ast.Assert) -> ast.Assert:
        node.msg = None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = dotted(node.func)
        meant = self.meaning(name) if name else None
        if self.is_fault(name, meant):
            self.without_message(node)
        elif meant in TABLES:
            node.keywords = []
        elif isinstance(meant, str) and meant.rpartition(".")[2] == "tqdm":
            node.args, node.keywords = node.args[:1], []  # the rest only formats the progress bar
        elif isinstance(meant, tuple) and not any(isinstance(arg, ast.Starred) for arg in node.args):
            silent = self.silent(meant)
            node.args = [ast.Constant(None) if place in silent else arg for place, arg in enumerate(node.args)]
            node.keywords = [k for k in node.keywords if k.arg is None or k.arg not in silent]
        return self.generic_visit(node)

    def is_fault(self, name: str, meant: object) -> bool:
        """Whether a call creates an exception, whose arguments are a message."""
        if isinstance(meant, str) and meant.startswith("builtins."):
            kind = getattr(builtins, name, None)
            return isinstance(kind, type) and issubclass(kind, BaseException)
        last = meant.rpartition(".")[2] if isinstance(meant, str) else meant[1] if isinstance(meant, tuple) else ""
        return last.endswith(("Error", "Exception"))

    # --- what is written for readers of the code ------------------------------------------------------

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        returns = dotted(node.returns) if node.returns else ""
        if returns and self.is_fault(returns, self.meaning(returns)):
            node.body = [ast.Pass()]  # it only words an error
        node.returns = None
        self.depth += 1
        node = self.generic_visit(node)
        self.depth -= 1
        node.body = node.body or [ast.Pass()]
        return node

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        within, self.depth = self.depth, -1  # the existence of a field counts
        before = attributes(node)
        node = self.generic_visit(node)
        self.depth = within
        mute = before - attributes(node)  # methods that only messages used
        node.body = [part for part in node.body if not (part_name(part).startswith("_") and part_name(part) in mute)]
        node.body = node.body or [ast.Pass()]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt | None:
        node = self.generic_visit(node)
        if self.depth == -1:
            kept = "Var" in ast.unparse(node.annotation)
            node.annotation = ast.Constant(ast.unparse(node.annotation) if kept else None)
            return node
        return None if node.value is None else ast.Assign([node.target], node.value)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        node = super().generic_visit(node)
        if node.__dict__.get("body") != []:
            return node
        if isinstance(node, ast.If) and not node.orelse:
            return None if is_quiet(node.test) else ast.Expr(node.test)
        if isinstance(node, ast.stmt | ast.ExceptHandler):
            node.body = [ast.Pass()]
        return node


class Unused(FastVisits, ast.NodeTransformer):
    """Removes assignments to a function's own names that nothing reads; `found` says whether there were any."""

    def __init__(self, node: ast.stmt) -> None:
        self.found = False
        self.read: set[str] = set()
        if isinstance(node, ast.ClassDef):
            for part in node.body:
                if isinstance(part, ast.FunctionDef):
                    self.found |= Unused(part).found
        elif isinstance(node, ast.FunctionDef):
            parts = walk(node)
            self.read = {
                part.id for part in parts if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Store)
            }
            self.read |= {name for part in parts if isinstance(part, ast.Global | ast.Nonlocal) for name in part.names}
            self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Visits statements alone: no expression assigns as these do."""
        for name in BODIES:
            if type(part := node.__dict__.get(name)) is list:
                part[:] = [given for one in part if (given := self.visit(one)) is not None]
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.Assign | None:
        names = [name for target in node.targets for name in own_names(target)]
        if all(name and name not in self.read for name in names) and is_quiet(node.value):
            self.found = True
            return None
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AugAssign | None:
        if isinstance(node.target, ast.Name) and node.target.id not in self.read and is_quiet(node.value):
            self.found = True
            return None
        return node


def decorator(node: ast.expr) -> str:
    return dotted(node.func if isinstance(node, ast.Call) else node)


def attributes(node: ast.AST) -> set[str]:
    return {part.attr for part in walk(node) if isinstance(part, ast.Attribute)}


def part_name(node: ast.stmt) -> str:
    return node.name if isinstance(node, ast.FunctionDef) else ""


def is_quiet(value: ast.expr) -> bool:
    """Whether computing a value has no effect but the value."""
    for node in walk(value):
        if isinstance(node, ast.Yield | ast.YieldFrom | ast.Await | ast.NamedExpr):
            return False
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name not in QUIET:
                return False
    return True
