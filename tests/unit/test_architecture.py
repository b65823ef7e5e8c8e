"""The package is laid out as docs/architecture.md says, and imports go one way."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "workflow/promptpool"
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
# What a newcomer asks, and what the file that the page names must hold.
QUESTIONS = {
    "InfoNCE mask": "def false_negatives",
    "Where is a csv read": "csv.reader",
    "What writes `scores.parquet`": "write_table",
    "Where does the k-means come from": "mteb.evaluate",
    "What decides that a job runs again": "def code_digest",
    "Where does a prompt become token ids": "def compose",
    "tree mask of one pass": "def tree_attention",
    "Which number type": "def inference_precision",
    "Where is an interval computed": "def ",
    "export gives the scored vectors": "def check_parity",
    "Which job gets which GPU": "def leased",
    "when memory runs out": "def failed",
}


def rooms() -> list[str]:
    """The sub-packages and top modules in the order of the page's table."""
    table = PAGE.partition("## Sub-packages")[2].partition("## Where is")[0]
    cells = re.findall(r"^\| (`[^|]*) \|", table, re.M)
    return [name.removesuffix("/").removesuffix(".py") for cell in cells for name in re.findall(r"`([\w./]+)`", cell)]


def imported(path: Path) -> set[str]:
    """The rooms that a module imports from, its own aside."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            steps = [*parts[: -node.level], *(node.module.split(".") if node.module else [])]
            found |= {steps[0]} if steps else {alias.name for alias in node.names}
    return found - {parts[0]}


def test_the_page_lists_every_sub_package():
    there = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    there |= {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert sorted(rooms()) == sorted(there)


@pytest.mark.parametrize("room", rooms())
def test_imports_go_one_way(room):
    lower = set(rooms()[: rooms().index(room)])
    modules = [*PACKAGE.glob(f"{room}.py"), *(PACKAGE / room).glob("*.py")]
    assert modules
    for module in modules:
        assert imported(module) <= lower, f"{module.name} imports upwards: {imported(module) - lower}"


@pytest.mark.parametrize(("question", "held"), QUESTIONS.items())
def test_a_question_is_answered_with_the_right_file(question, held):
    (row,) = [line for line in PAGE.splitlines() if line.startswith("|") and question in line]
    (path,) = re.findall(r"`(workflow/[\w./]+)`", row)
    assert held in (ROOT / path).read_text(encoding="utf-8")


def test_every_file_that_the_page_names_is_there():
    named = set(re.findall(r"`((?:workflow|tests|docs)/[\w./-]+)`", PAGE))
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_page_says_where_to_start_in_each_sub_package():
    table = PAGE.partition("## Sub-packages")[2].partition("## Where is")[0]
    for row in re.findall(r"^\| `(\w+)/` \|.*\|(.*)\|$", table, re.M):
        for file in re.findall(r"`([\w.]+)`", row[1]):
            assert (PACKAGE / row[0] / file).is_file(), f"{row[0]}/{file}"


# Stages whose function serves more than one of them, or is in a module that does: rule -> function.
SHARED = {
    "draw": "promptpool.figures.draw.draw",  # one rule a figure
    "prefetch": "promptpool.hub.fetch_snapshot.prefetch",  # looks again at what fetch_snapshot fetched
    "unpack_adapter": "promptpool.artifacts.integrity.unpack_sealed",  # any archive of the run
}


def rules() -> dict[str, str]:
    """Rule -> the script that it runs; the figures' rules together as `draw`."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    found = {}
    for block in re.split(r"^ *(?=rule\b)", text, flags=re.M):
        name = re.match(r"rule (\w+):", block) or re.search(r'name:\s+f"(draw)_', block)
        script = re.search(r'script:\s+"\.\./scripts/(\w+)\.py"', block)
        if name and script:
            found[name[1]] = script[1]
    return found


def test_every_script_belongs_to_one_rule_of_its_name():
    scripts = {path.stem for path in (ROOT / "workflow/scripts").glob("*.py")}
    assert rules() == {name: name for name in scripts}


@pytest.mark.parametrize("stage", sorted(path.stem for path in (ROOT / "workflow/scripts").glob("*.py")))
def test_a_stages_script_calls_the_function_of_its_name_in_the_module_of_its_name(stage):
    tree = ast.parse((ROOT / f"workflow/scripts/{stage}.py").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    module, _, function = SHARED.get(stage, "").rpartition(".")
    places = {node.module for node in imports for alias in node.names if alias.name == (function or stage)}
    assert (function or stage) in called
    assert places == {module} if module else {place.rpartition(".")[2] for place in places} == {stage}


# Shorter than 25 lines for a reason.
SHORT = {
    "__main__.py",  # `python -m promptpool`
    "errors.py",  # the lowest module, which all others import
    "config/paths.py",
    "config/secrets.py",  # one check each
    "figures/palette.py",  # colours, which the report needs without matplotlib
    "text/normalisation.py",  # what counts as the same text, which five sub-packages ask
}


def test_modules_have_between_25_and_300_lines():
    lines = {
        str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines())
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    }
    assert {name: count for name, count in lines.items() if count > 300} == {}
    assert {name for name, count in lines.items() if count < 25} == SHORT


# Defined twice for a reason: entry points of other processes, a worker that runs in vLLM's own environment, and the
# readers of figures, which are called after the argument that they give.
TWICE = {"main", "LIKELIEST", "read_facts", "read_shown", "read_table"}


def test_a_public_name_is_defined_in_one_module():
    places: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names = [node.name]
            for name in names:
                if not name.startswith("_"):
                    places.setdefault(name, set()).add(str(path.relative_to(PACKAGE)))
    assert {name: found for name, found in places.items() if len(found) > 1 and name not in TWICE} == {}


def imports_from_the_package(path: Path) -> list[ast.ImportFrom]:
    """Of a module, or of a file of rules, which is no Python as a whole."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        text = "\n".join(re.findall(r"^from promptpool.*$", text, re.M))
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    return [node for node in nodes if (node.module or "").startswith("promptpool")]


def test_whatever_is_imported_from_the_package_is_there():
    """Benches, fault harness and GPU tests are not run by every change, and must not find out when they are."""
    lost = []
    for folder in ("workflow", "tests", "docs"):
        for path in (ROOT / "workflow/Snakefile", *(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.smk")):
            for node in imports_from_the_package(path):
                place = PACKAGE.joinpath(*node.module.split(".")[1:])
                module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
                known = set(re.findall(r"\w+", module.read_text(encoding="utf-8"))) if module.is_file() else set()
                below = {child.stem for child in place.glob("*")} if place.is_dir() else set()
                lost += [f"{path}: {node.module}.{a.name}" for a in node.names if a.name not in known | below]
    assert lost == []
