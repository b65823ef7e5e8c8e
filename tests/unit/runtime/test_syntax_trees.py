"""The package's own walks of syntax trees give what those of `ast` give, on every module of the package."""

import ast
import gc

import pytest
from code_edits import WORKFLOW
from promptpool.runtime.syntax_trees import LEAVES, OPERATORS, FastVisits, copy, parts_of, walk, without_collector

MODULES = sorted(WORKFLOW.rglob("*.py"))
ODD = """
match [1.5, b"x", ..., 2j]:
    case [{"a": 1}, *rest] if rest:
        async def one(a, /, b: int = 1, *, c=None, **more) -> None:
            global two
            two = [x async for x in a if not x < b != c]
            try:
                raise ValueError from two
            except* (KeyError, OSError) as fault:
                del a[1:2], fault
            finally:
                lambda *given: (yield -given)
    case _:
        print(f"{1!r:>{2}}", *[], **{**{}})
"""


def trees() -> list[ast.Module]:
    return [ast.parse(text) for text in [ODD, *(path.read_text(encoding="utf-8") for path in MODULES)]]


def of_ast(nodes) -> list[ast.AST]:
    return [node for node in nodes if type(node) not in OPERATORS]


def test_a_walk_meets_what_asts_meets_in_its_order():
    for tree in trees():
        assert walk(tree) == of_ast(ast.walk(tree))
        assert all(parts_of(node) == of_ast(ast.iter_child_nodes(node)) for node in ast.walk(tree))


def test_a_copy_is_equal_and_shares_only_what_nothing_changes():
    for tree in trees():
        other = copy(tree)
        assert ast.dump(other) == ast.dump(tree)
        assert {type(node) for node in {*walk(tree)} & {*walk(other)}} <= LEAVES


class Asts(ast.NodeTransformer):
    """Replaces, removes, goes deeper and stops."""

    def visit_Constant(self, node):
        return ast.Constant(len(node.value)) if isinstance(node.value, str) else node

    def visit_Return(self, node):
        return None if node.value is None or isinstance(node.value, ast.Name) else self.generic_visit(node)

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_Call(self, node):
        return ast.Name("call", ast.Load()) if node.keywords else self.generic_visit(node)

    def visit_Starred(self, node):
        return None

    def visit_UnaryOp(self, node):
        return None  # also where it is no part of a list


class Ours(FastVisits, Asts):
    pass


def test_a_transformer_changes_what_asts_changes():
    for tree in trees():
        assert ast.dump(Ours().visit(copy(tree))) == ast.dump(Asts().visit(copy(tree)))


def test_names_are_passed_over_only_by_a_class_that_has_no_method_for_them():
    class Counts(FastVisits, ast.NodeTransformer):
        found = 0

        def visit_Name(self, node):
            self.found += 1
            return node

    tree, counts = ast.parse(ODD), Counts()
    counts.visit(tree)
    assert counts.found == sum(isinstance(node, ast.Name) for node in ast.walk(tree)) > 10


def test_every_kind_of_node_without_parts_is_known():
    nodes = [node for tree in trees() for node in ast.walk(tree)]
    assert {type(node) for node in nodes if not node._fields} <= OPERATORS | LEAVES
    assert not any(of_ast(ast.iter_child_nodes(node)) for node in nodes if type(node) in LEAVES)
    assert not any([*ast.iter_child_nodes(node)] for node in nodes if type(node) in OPERATORS)


@pytest.mark.parametrize("on", [True, False])
def test_the_collector_is_as_it_was_afterwards_also_after_an_error(on):
    was = gc.isenabled()
    (gc.enable if on else gc.disable)()
    try:
        with pytest.raises(KeyError), without_collector():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() == on
    finally:
        (gc.enable if was else gc.disable)()
        gc.unfreeze()
