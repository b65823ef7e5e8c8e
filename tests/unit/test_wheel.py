"""The built wheel, installed into a folder of its own and used from elsewhere: it needs nothing of the checkout."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from promptpool import Embedder
from promptpool.artifacts.files import write_sidecar
from promptpool.runtime.code_digest import code_digest
from sample_config import demo
from tiny import TEXTS, tiny_model

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "workflow/promptpool"
GRID = {"prompts": {"none": "{text}", "topic": "The topic of {text} is"}, "poolings": ["mean", "last"]}
ENTRY_POINTS = {"promptpool", "promptpool.clusters", "promptpool.runtime.rebuild", "promptpool.tasks.catalogue"}
# Python imports this first. It takes the checkout from the paths, refuses to open a file of it, and notes which
# resources of the installed package are read.
GUARD = """
import os, sys

OWN = tuple(os.path.join(os.environ["CHECKOUT"], part) for part in ("workflow", "tests", "docs", "config.yaml"))
SITE = os.environ["SITE"] + os.sep
sys.path[:] = [path for path in sys.path if not os.path.abspath(path).startswith(OWN)]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", "")]

def watch(event, args):
    if event == "open" and isinstance(args[0], (str, os.PathLike)):
        path = os.path.abspath(args[0])
        if path.startswith(OWN):
            os.write(2, f"opened {path}\\n".encode())
            os._exit(77)
        if path.startswith(SITE) and not path.endswith((".py", ".pyc")):
            handle = os.open(os.environ["READ"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.write(handle, f"{path.removeprefix(SITE)}\\n".encode())
            os.close(handle)

sys.addaudithook(watch)
"""
USE = """
import importlib, importlib.resources, json, pkgutil, sys
import numpy as np
import promptpool
from promptpool import Embedder

names = [module.name for module in pkgutil.walk_packages(promptpool.__path__, "promptpool.")]
for name in names:
    importlib.import_module(name)

from promptpool.artifacts.files import git_commit
from promptpool.config.resolve import resolve
from promptpool.report.build_report import environment
from promptpool.runtime.code_digest import code_digest, use_scripts
from promptpool.study.model_checks import architectures
from promptpool.study.plan_sizes import assumptions
from promptpool.tasks.catalogue import catalogue
from promptpool.tasks.published import published
from promptpool.text.boilerplate import boilerplate
from promptpool.text.function_words import read_function_words

given = json.loads(sys.argv[1])
use_scripts(given["scripts"])
page = environment()
for template in page.list_templates():
    page.get_template(template)
for template in importlib.resources.files("promptpool.clusters").joinpath("templates").iterdir():
    template.read_text(encoding="utf-8")
facts = {
    "file": promptpool.__file__,
    "modules": names,
    "tasks": len(catalogue()["tasks"]),
    "published": len(published()),
    "models": len(assumptions()["models"]),
    "architectures": len(architectures()),
    "words": len(read_function_words()),
    "boilerplate": boilerplate("a graph", "As an AI language model, I cannot do that."),
    "styles": len(resolve(given["config"], files=False)["pairs"]),
    "commit": git_commit(),
    "digest": code_digest("make_pairs"),
}
grid = Embedder.load(given["model"], device="cpu").grid(given["texts"], **given["grid"])
np.savez("vectors.npz", **{"/".join(map(str, key)): value for key, value in grid.items()})
print(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the installed wheel in `site`, the guard, a workflow without its package, and a run's artifacts."""
    room = tmp_path_factory.mktemp("wheel")
    plain = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "config.yaml", "envs", "workflow"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        (room / "source" / part).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / part, room / "source" / part, **({"ignore": plain} if copy is shutil.copytree else {}))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(room), str(room / "source")]
    subprocess.run(build, check=True, timeout=120)
    (wheel,) = room.glob("*.whl")
    install = [*pip, "install", "--no-deps", "--no-index", "--no-compile", "--target", str(room / "site"), str(wheel)]
    subprocess.run(install, check=True, timeout=120)
    shutil.rmtree(room / "source")
    (room / "guard").mkdir()
    (room / "guard/sitecustomize.py").write_text(GUARD)
    shutil.copytree(ROOT / "workflow", room / "study/workflow", ignore=shutil.ignore_patterns("promptpool*", "__py*"))
    shutil.copy(ROOT / "Snakefile", room / "study")
    shutil.copytree(ROOT / "envs", room / "study/envs")
    (room / "elsewhere").mkdir()
    return room


def python(room: Path, *arguments: str, folder: str = "elsewhere") -> subprocess.CompletedProcess:
    """A process in another folder that finds the installed package and must not look into the checkout."""
    paths = os.pathsep.join([str(room / "guard"), str(room / "site")])
    environment = {**os.environ, "PYTHONPATH": paths, "CHECKOUT": str(ROOT), "SITE": str(room / "site/promptpool")}
    environment |= {"READ": str(room / "read.txt"), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("PROMPTPOOL_CODE", None)
    return subprocess.run(
        [sys.executable, *arguments], cwd=room / folder, env=environment, capture_output=True, text=True, timeout=300
    )


def at_once(room: Path, *commands: list[str], folder: str = "elsewhere") -> list[subprocess.CompletedProcess]:
    with ThreadPoolExecutor(len(commands)) as pool:
        return list(pool.map(lambda command: python(room, *command, folder=folder), commands))


def files_of(package: Path) -> set[str]:
    found = (path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(package).as_posix() for path in found}


def test_the_wheel_holds_every_file_of_the_package_and_of_the_workflow(installed):
    held = files_of(installed / "site/promptpool")
    shipped = {name.removeprefix("shipped/") for name in held if name.startswith("shipped/")}
    assert held - {f"shipped/{name}" for name in shipped} == files_of(PACKAGE)
    workflow = {f"workflow/{name}" for name in files_of(ROOT / "workflow") if not name.startswith("promptpool")}
    assert shipped == workflow | {f"envs/{name}" for name in files_of(ROOT / "envs")} | {"config.yaml"}


def test_the_command_works_in_an_empty_folder_with_the_wheel_alone(installed):
    """Help, a study for a file, its plan and its jobs, with the workflow that the wheel holds."""
    folder = installed / "empty"
    folder.mkdir()
    started = time.monotonic()
    helped = python(installed, "-m", "promptpool", "--help", folder="empty")
    took = time.monotonic() - started
    assert helped.returncode == 0 and "promptpool init texts.csv" in helped.stdout and took < 5, (helped.stderr, took)
    lines = [f"the {TEXTS[0]} number {number} of many" for number in range(150)]
    (folder / "texts.csv").write_text("text\n" + "\n".join(f'"{line}"' for line in lines))
    made = python(installed, "-m", "promptpool", "init", "texts.csv", "--yes", folder="empty")
    assert made.returncode == 0 and (folder / "study.yaml").is_file(), made.stderr
    planned = python(installed, "-m", "promptpool", "plan", folder="empty")
    assert planned.returncode == 0 and "Plan of the study texts" in planned.stdout, planned.stderr
    assert str(installed / "site/promptpool/shipped/workflow/Snakefile") in planned.stderr
    listed = python(installed, "-m", "promptpool", "run", "--dry-run", folder="empty")
    assert listed.returncode == 0 and "train_adapter" in listed.stdout, listed.stderr


def test_help_imports_nothing_that_takes_long(installed):
    """0.5 s from the start to the text; the interpreter alone takes a tenth of it."""
    code = "import sys\nfrom promptpool.cli.command import main\nmain(['--help'])"
    answer = python(installed, "-X", "importtime", "-c", code)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in answer.stderr.splitlines()}
    assert "argparse" in loaded and not loaded & {"numpy", "pandas", "torch", "yaml", "snakemake"}


def test_every_module_is_imported_every_resource_read_and_texts_are_embedded(installed):
    model = tiny_model(installed / "model")
    given = {"model": str(model), "texts": TEXTS, "grid": GRID, "config": demo()}
    given["scripts"] = str(installed / "study/workflow/scripts")
    done = python(installed, "-c", USE, json.dumps(given))
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    assert Path(facts["file"]).is_relative_to(installed / "site")
    modules = {f"promptpool/{name}" for name in files_of(PACKAGE) if name.endswith(".py")}
    modules = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in modules}
    assert {"promptpool", *facts["modules"]} == modules
    resources = {name for name in files_of(PACKAGE) if not name.endswith(".py")}
    read = {name for name in (installed / "read.txt").read_text().split() if not name.startswith("shipped/")}
    assert read == resources and len(resources) > 10
    assert min(facts[key] for key in ("tasks", "published", "models", "words", "styles")) > 0
    assert facts["boilerplate"] == "refusal" and facts["commit"] is None
    assert facts["digest"] == code_digest("make_pairs")
    expected = Embedder.load(str(model), device="cpu").grid(list(TEXTS), **GRID)
    with np.load(installed / "elsewhere/vectors.npz") as vectors:
        assert sorted(vectors) == sorted("/".join(map(str, key)) for key in expected)
        for key, matrix in expected.items():
            np.testing.assert_allclose(vectors["/".join(map(str, key))], matrix, atol=1e-5)


def test_the_entry_points_that_the_documentation_names_run(installed):
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    assert set(re.findall(r"-m (promptpool[\w.]*)", text)) == ENTRY_POINTS

    artifacts = [installed / f"elsewhere/results/run/{name}.txt" for name in ("whole", "damaged")]
    for path in artifacts:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content")
        write_sidecar(path)
    artifacts[1].write_text("changed")
    table = installed / "site/promptpool/tasks/mteb.json"
    text = table.read_text(encoding="utf-8")
    table.write_text("{}", encoding="utf-8")
    looked, written = at_once(
        installed, ["-m", "promptpool.runtime.rebuild", "results/run"], ["-m", "promptpool.tasks.catalogue"]
    )
    assert looked.returncode == 1 and "2 artifacts verified, 1 damaged" in looked.stdout, looked.stderr
    assert written.returncode == 0 and table.read_text(encoding="utf-8") == text, written.stderr


def test_the_workflow_runs_with_the_installed_package(installed):
    """Its rules and scripts lie in a checkout, and the package among the interpreter's own."""
    demo = ["-m", "snakemake", "--workflow-profile", "workflow/profiles/demo", "--dry-run", "--quiet", "rules"]
    planned, refused = at_once(installed, demo, [*demo, "--sdm", "conda"], folder="study")
    assert planned.returncode == 0 and "train_adapter" in planned.stdout, planned.stderr
    assert refused.returncode == 1
    assert "--sdm conda: its environments lack promptpool" in refused.stdout + refused.stderr
