"""Runs a notebook's code cells in order, in this process, without Jupyter: what they print, and their last values.

python tests/notebook.py docs/texts-to-clusters.ipynb    # runs it and keeps what its cells show in it
"""

import ast
import base64
import contextlib
import io
import json
import os
import sys
from pathlib import Path


def code_cells(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run(path: Path) -> dict:
    """Runs all code cells in the notebook's folder and fills their outputs. Returns `notebook` and the cells' names."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    notebook, names, before = json.loads(path.read_text(encoding="utf-8")), {"__name__": "__main__"}, Path.cwd()
    os.chdir(path.parent)
    try:
        for number, cell in enumerate(code_cells(notebook), start=1):
            cell["outputs"], cell["execution_count"] = _outputs("".join(cell["source"]), names, number), number
    finally:
        os.chdir(before)
    return {"notebook": notebook, **names}


def _outputs(source: str, names: dict, number: int) -> list[dict]:
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"cell {number}", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
    found = []
    if printed.getvalue():
        found.append({"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(keepends=True)})
    if value is not None:
        found.append(
            {"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": _shown(value)}
        )
    return found


def _shown(value: object) -> dict:
    """As Jupyter shows it: a figure as a picture, a table as HTML, and anything as text."""
    data = {"text/plain": repr(value).splitlines(keepends=True)}
    if hasattr(value, "savefig"):
        picture = io.BytesIO()
        value.savefig(picture, format="png", dpi=72, bbox_inches="tight")
        data["image/png"] = base64.b64encode(picture.getvalue()).decode("ascii")
    elif hasattr(value, "to_html"):
        data["text/html"] = value.to_html().splitlines(keepends=True)
    return data


if __name__ == "__main__":
    place = Path(sys.argv[1]).resolve()
    text = json.dumps(run(place)["notebook"], indent=1, ensure_ascii=False) + "\n"
    place.write_text(text, encoding="utf-8")
