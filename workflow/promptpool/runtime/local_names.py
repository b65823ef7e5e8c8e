"""Replaces the names in a syntax tree by what they mean, so that renaming a helper or a local changes nothing."""

import ast
from collections.abc import Callable

from .syntax_trees import FastVisits, parts_of, walk

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Meaning = Callable[[str], object]  # dotted name -> (module, name) of the package, the full name of another, or None


class Names(FastVisits, ast.NodeTransformer):
    """Writes a number for each package name and each local name, and the full name for anything else."""

    def __init__(self, meaning: Meaning, call: Callable) -> None:
        self.meaning, self.call = meaning, call
        self.scopes: list[dict[str, str]] = []
        self.count = 0

    def local(self, name: str) -> str | None:
        return next((scope[name] for scope in reversed(self.scopes) if name in scope), None)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        own = self.local(node.id)
        return ast.Name(own, node.ctx) if own else self.meant(node, node.id)

    def meant(self, node: ast.expr, name: str) -> ast.AST:
        found = self.meaning(name)
        if isinstance(found, tuple):
            return ast.Name(self.call(found), ast.Load())
        return node if found is None else ast.Name(found, ast.Load())

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """A module that another process runs by its name counts like an imported one."""
        named = isinstance(node.value, str) and node.value.startswith("promptpool.")
        return self.meant(node, node.value) if named else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        name = dotted(node)
        if name and self.local(name.partition(".")[0]) is None and self.meaning(name) is not None:
            return self.meant(node, name)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.AST) -> ast.AST:
        own = isinstance(node, ast.Lambda)
        outer = not self.scopes
        if not own:
            node.decorator_list = [self.visit(part) for part in node.decorator_list]
            node.name = "" if outer and not getattr(node, "method", False) else self.local(node.name) or node.name
        node.args.defaults = [self.visit(part) for part in node.args.defaults]
        node.args.kw_defaults = [part and self.visit(part) for part in node.args.kw_defaults]
        if outer and not own and not getattr(node, "method", False):
            used = {part.id for part in walk(node) if isinstance(part, ast.Name)}
            for arg in arguments_of(node):
                arg.arg = arg.arg if arg.arg in used else "_"  # an unused parameter's name does not matter
        self.scopes.append(self.numbered(bound(node), {arg.arg for arg in arguments_of(node)}))
        node.body = self.visit(node.body) if own else [self.visit(part) for part in node.body]
        self.scopes.pop()
        return node

    visit_AsyncFunctionDef = visit_Lambda = visit_FunctionDef  # noqa: N815

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        node.name = self.local(node.name) or "" if not getattr(node, "method", False) else node.name
        for part in node.body:
            part.method = True  # looked up by its name, on an object
        node.bases = [self.visit(part) for part in node.bases]
        node.keywords = [self.visit(part) for part in node.keywords]
        node.decorator_list = [self.visit(part) for part in node.decorator_list]
        names = {name for part in node.body for name in statement_names(part)}
        self.scopes.append({name: name for name in names})
        fields = [part for part in node.body if not isinstance(part, FUNCTIONS)]
        visited = {id(part): self.visit(part) for part in fields}
        self.scopes.pop()  # methods do not see the class's own names
        for part in node.body:
            if isinstance(part, FUNCTIONS):
                visited[id(part)] = self.visit(part)
        node.body = [visited[id(part)] for part in node.body]
        return node

    def visit_comprehension_scope(self, node: ast.AST) -> ast.AST:
        names = [n.id for part in node.generators for n in walk(part.target) if isinstance(n, ast.Name)]
        self.scopes.append(self.numbered(names, set()))
        node = self.generic_visit(node)
        self.scopes.pop()
        return node

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_comprehension_scope  # noqa: N815

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        node.name = self.local(node.name) if node.name else None
        return self.generic_visit(node)

    def numbered(self, names: list[str], kept: set[str]) -> dict[str, str]:
        """A number for each name except parameters, which callers may name."""
        scope = {}
        for name in dict.fromkeys([*sorted(kept), *names]):
            self.count += name not in kept
            scope[name] = name if name in kept else f"#{self.count}"
        return scope


def dotted(node: ast.expr) -> str:
    """`a.b.c` for a name or an attribute of one; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def arguments_of(node: ast.AST) -> list[ast.arg]:
    args = node.args
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *filter(None, [args.vararg, args.kwarg])]


def bound(function: ast.AST) -> list[str]:
    """Names that a function's own scope binds, in the order of the text, without those of functions inside it."""
    found: list[str] = []
    outside: set[str] = set()

    def look(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.Global | ast.Nonlocal):
            outside.update(node.names)
        elif isinstance(node, ast.NamedExpr):
            found.append(node.target.id)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and not inside:
            found.append(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.append(node.name)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append(node.name)
            return
        elif isinstance(node, ast.Lambda):
            return
        for child in parts_of(node):
            look(child, inside or isinstance(node, COMPREHENSIONS))

    for part in function.body if isinstance(function.body, list) else [function.body]:
        look(part, False)
    return [name for name in found if name not in outside]


def statement_names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [name for target in targets for name in own_names(target) if name]


def own_names(target: ast.expr) -> list[str]:
    """The names that an assignment's target binds; empty for a part of an object."""
    if isinstance(target, ast.Tuple | ast.List):
        return [name for part in target.elts for name in own_names(part)]
    if isinstance(target, ast.Starred):
        return own_names(target.value)
    return [target.id if isinstance(target, ast.Name) else ""]
