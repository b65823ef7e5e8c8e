"""What the code cites can be read: every page that a comment, docstring or message names is in the repository."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READ = [ROOT / "workflow/Snakefile", ROOT / "config.yaml", ROOT / "Makefile"]
READ += [path for kind in ("*.py", "*.smk", "*.yaml", "*.j2") for path in sorted((ROOT / "workflow").rglob(kind))]
PAGE = re.compile(r"(?<![\w/.-])(?:docs/[\w/-]+\.md|[A-Z][A-Z_]{3,}\.md)\b")
# A name in capitals with the number of a section: a page without its ending.
SECTION = re.compile(r"\b[A-Z][A-Z_]{3,} \d+(?:\.\d+)*\b")
NO_PAGE = re.compile(r"(?:YAML|ICDE|HTTP|MTEB) ")  # names with a number of another kind
WRITTEN = {"README.md"}  # that stages write or read beside a model


def cited(text: str) -> set[str]:
    return {page for page in (*PAGE.findall(text), *SECTION.findall(text)) if not NO_PAGE.match(page)} - WRITTEN


def test_cited_pages_are_in_the_repository():
    found = {(str(path.relative_to(ROOT)), page) for path in READ for page in cited(path.read_text(encoding="utf-8"))}
    assert len(found) > 5
    missing = {(path, page) for path, page in found if not (ROOT / page).exists()}
    assert missing == set()


@pytest.mark.parametrize("text", ["as it is (DESIGN 5.3).", "see DESIGN.md", "the table (docs/nowhere.md)", "HOUSE 2"])
def test_a_page_from_elsewhere_is_seen(text):
    (page,) = cited(text)
    assert not (ROOT / page).exists()


def test_what_is_no_page_is_passed_over():
    assert cited("README.md, A100 80 GB, HTTP 404, YAML 1.2, MTEB(eng, v2), /tmp/docs/x.md") == set()
