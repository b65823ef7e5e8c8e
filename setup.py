"""Puts the workflow into the wheel as promptpool/shipped, laid out as in a checkout, so that paths between files hold.

Everything else about the package is in pyproject.toml. An editable installation uses the checkout itself.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SHIPPED = ("workflow/Snakefile", "workflow/rules", "workflow/scripts", "workflow/report", "workflow/profiles",
           "workflow/resources", "envs", "config.yaml")  # fmt: skip


class WithWorkflow(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for name in SHIPPED:
            source, target = ROOT / name, Path(self.build_lib, "promptpool/shipped", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                shutil.copy(source, target)


setup(cmdclass={"build_py": WithWorkflow})
