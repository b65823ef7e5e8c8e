"""Walks and rewrites of syntax trees: several times as fast as those of `ast`, which also visit what holds nothing."""

import ast
import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import ClassVar

# Types of a field's value that is no node, and of operators and contexts, which hold nothing.
VALUES = frozenset([str, bytes, int, float, complex, bool, type(None), type(...)])
OPERATORS = frozenset(
    kind
    for group in (ast.expr_context, ast.operator, ast.boolop, ast.unaryop, ast.cmpop)
    for kind in group.__subclasses__()
)
SIMPLE = VALUES | OPERATORS
# Nodes without nodes in them. Nothing here changes one: it is replaced by another.
LEAVES = frozenset([ast.Name, ast.Constant, ast.Pass, ast.Break, ast.Continue])


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Syntax trees have no cycles. To look for some, then and later, took a third of a dry run.

    The trees stay until the process ends, so the collector never looks at them again (`gc.freeze`).
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was:
            gc.enable()


def parts_of(node: ast.AST) -> list[ast.AST]:
    """The nodes directly in a node, in the order of `ast.iter_child_nodes`, without operators and contexts."""
    if type(node) in LEAVES:
        return []
    found, parts = [], node.__dict__
    for name in node._fields:
        part = parts.get(name)
        if type(part) is list:
            found += [one for one in part if type(one) not in SIMPLE]
        elif type(part) not in SIMPLE:
            found.append(part)
    return found


def walk(tree: ast.AST) -> list[ast.AST]:
    """The tree's nodes in the order of `ast.walk`, without operators and contexts."""
    found = [tree]
    for node in found:  # grows
        if type(node) not in LEAVES:
            found += parts_of(node)
    return found


def copy(node: ast.AST) -> ast.AST:
    """A tree that can be changed: all is new but leaves, operators and contexts."""
    kind = type(node)
    if kind in LEAVES or kind in SIMPLE:
        return node
    new, parts = kind(), node.__dict__
    for name in node._fields:
        if name in parts:
            part = parts[name]
            if type(part) is list:
                part = [copy(one) for one in part]
            elif type(part) not in SIMPLE:
                part = copy(part)
            setattr(new, name, part)
    return new


REMOVED = object()


class FastVisits:
    """Put before `ast.NodeTransformer` among the bases of a class, it visits the same nodes in less time."""

    methods: ClassVar[dict[type, Callable]]
    passed: ClassVar[frozenset[type]]  # what need not be visited

    def __init_subclass__(cls) -> None:
        cls.methods = {}
        own = {kind for kind in LEAVES if _method(cls, kind) is not _method(ast.NodeTransformer, kind)}
        cls.passed = SIMPLE | (LEAVES - own)

    def visit(self, node: ast.AST) -> ast.AST | None:
        kind = type(node)
        method = self.methods.get(kind)
        if method is None:
            method = self.methods[kind] = _method(type(self), kind) or type(self).generic_visit
        return method(self, node)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Visits the parts of a node, and puts in place what that gives."""
        parts, passed = node.__dict__, self.passed
        for name in node._fields:
            part = parts.get(name)
            if type(part) is list:
                if part:
                    given = [one if type(one) in passed else self.visit(one) or REMOVED for one in part]
                    part[:] = [one for one in given if one is not REMOVED]
            elif type(part) not in passed:
                given = self.visit(part)
                if given is None:
                    delattr(node, name)
                elif given is not part:
                    setattr(node, name, given)
        return node


def _method(visitor: type, kind: type) -> Callable | None:
    return getattr(visitor, f"visit_{kind.__name__}", None)
