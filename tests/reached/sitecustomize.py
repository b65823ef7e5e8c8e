"""Notes which functions of promptpool each script of a run enters; Python imports this first where it is on PYTHONPATH.

REACHED names a file that gets a line for each function that a process enters for the first time: the script, the module
and the function's whole name, with tabs between. A call of its own is written into each function as it is compiled:
unlike a profiler that costs nothing in the libraries, and unlike a dump at exit it survives a worker that is ended.
"""

import ast
import builtins
import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location

SEEN: set[tuple] = set()


def entered(module: str, name: str) -> None:
    script = os.path.basename(sys.argv[0]).rpartition(".py")[0].rpartition(".")[2]
    if (os.getpid(), script, module, name) not in SEEN:
        SEEN.add((os.getpid(), script, module, name))
        with open(os.environ["REACHED"], "a", encoding="utf-8") as handle:
            handle.write(f"{script}\t{module}\t{name}\n")


class Notes(ast.NodeTransformer):
    def __init__(self, module: str) -> None:
        self.module, self.path = module, []

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.path.append(node.name)
        node = self.generic_visit(node)
        self.path.pop()
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.path.append(node.name)
        node = self.generic_visit(node)
        note = ast.parse(f"__entered__({self.module!r}, {'.'.join(self.path)!r})").body
        docstring = isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
        node.body[docstring:docstring] = note
        self.path.pop()
        return node


class Loader(SourceFileLoader):
    def get_code(self, fullname: str):
        tree = ast.parse(self.get_data(self.path))
        tree = Notes(fullname.partition(".")[2]).visit(tree)
        return compile(ast.fix_missing_locations(tree), self.path, "exec", dont_inherit=True)


class Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path=None, target=None) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "promptpool":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or not isinstance(spec.loader, SourceFileLoader):
            return spec
        places = spec.submodule_search_locations
        loader = Loader(fullname, spec.origin)
        return spec_from_file_location(fullname, spec.origin, loader=loader, submodule_search_locations=places)


if "REACHED" in os.environ:
    builtins.__entered__ = entered
    sys.meta_path.insert(0, Finder())
