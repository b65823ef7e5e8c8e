"""The notebook runs as it stands: its cells in order, in one process, without Jupyter."""

from pathlib import Path

import nbformat
import pytest
from notebook import code_cells, run

PAGE = Path(__file__).parents[3] / "docs/texts-to-clusters.ipynb"


@pytest.fixture(scope="module")
def done() -> dict:
    return run(PAGE)


def test_every_cell_runs_and_shows_something(done):
    cells = code_cells(done["notebook"])
    assert len(cells) >= 6 and all(cell["outputs"] for cell in cells)
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"])


def test_it_finds_named_clusters_of_all_texts(done):
    found, texts = done["found"], done["texts"]
    assert len(texts) > 300 and len(done["table"]) == len(texts) == sum(found.sizes)
    assert len(found.names) == len(set(found.names)) >= 2 and all(found.words)
    assert done["page"].stat().st_size > 50_000
    assert "distribution" in " ".join(word for own in found.words for word in own) + " ".join(texts)


def test_it_is_a_notebook_and_its_outputs_are_kept():
    page = nbformat.read(PAGE, as_version=4)
    nbformat.validate(page)
    assert all(cell["outputs"] for cell in page["cells"] if cell["cell_type"] == "code")
    assert "/tmp/" not in PAGE.read_text(encoding="utf-8") and PAGE.stat().st_size < 200_000
