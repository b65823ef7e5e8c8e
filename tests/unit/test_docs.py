"""README and docs: short sentences, plain words, links that work, and nothing cited that does not exist."""

import ast
import importlib.util
import inspect
import io
import re
import shutil
import subprocess
import tokenize
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROSE = [page for page in PAGES if page != ROOT / "docs/reference/config.md"]  # its words are the schema's
BESIDE = ("CHANGELOG.md", "SECURITY.md", "results/README.md", "config.yaml")  # what users read beside the docs
MOST_WORDS = 16  # of a mean sentence
RETIRED = {
    "mend": r"mend(s|ed|ing)?",
    "told, tells": r"told|tells?|telling",
    "anew": r"anew",
    "bears": r"bears?",
    "held against": r"held against",
    "what it buys": r"what (it|that|this|each [a-z]+( of that)?) (buys|bought)",
    "in one line": r"in one line",
    "made of": r"made of",
    "a room": r"a room",
    "is no part of": r"(is|are) no part of",
}
WORKFLOW = ROOT / "workflow"
SOURCES = [ROOT / "workflow/Snakefile", *(path for end in ("py", "smk") for path in sorted(WORKFLOW.rglob(f"*.{end}")))]
TEXTS = [path for end in ("schema.yaml", "j2", "js", "css", "rst") for path in sorted(WORKFLOW.rglob(f"*.{end}"))]
EXCEPTED = {
    ("workflow/promptpool/runtime/computation.py", "told, tells"),  # `tell`, the name of a parameter
}


def relative(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def without_code(text: str) -> str:
    """The page without fenced code, inline code and comments."""
    text = re.sub(r"^( *)```.*?^\1```[^\S\n]*$", "", text, flags=re.S | re.M)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    return re.sub(r"``.+?``|`[^`]+`", "code", text)


def sentences(text: str) -> list[str]:
    """A page's sentences. Headings, tables, pictures, and indented code are none; a list's item begins one."""
    blocks, current = [], []
    for line in [*without_code(text).splitlines(), ""]:
        begins = re.match(r"\s*([-*]|\d+\.)\s", line)
        none = not line.strip() or re.match(r"(\||#|!\[|    [^-*\s\d])", line)
        if (begins or none) and current:
            blocks.append(" ".join(current))
            current = []
        if not none:
            current.append(re.sub(r"^\s*([-*]|\d+\.)\s+", "", line).strip())
    plain = (re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", block).replace("*", "") for block in blocks)
    return [part for block in plain for part in re.split(r"(?<=[.!?])[\")]?\s+(?=[\"(A-Z0-9\[]|code)", block) if part]


def words(sentence: str) -> int:
    return sum(any(letter.isalnum() for letter in word) for word in sentence.split())


def mean_words(text: str) -> float:
    lengths = [words(sentence) for sentence in sentences(text)]
    return sum(lengths) / max(len(lengths), 1)


def anchors(page: Path) -> set[str]:
    """The addresses of a page's headings, as GitHub makes them."""
    plain = re.sub(r"^( *)```.*?^\1```[^\S\n]*$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    headings = re.findall(r"^#+ (.+)$", plain, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_sentences_are_counted_as_a_reader_would():
    text = "# A heading\n\nOne two three. Four `five six` seven!\n\n| a | table |\n\n"
    text += "- an item here\n- another\n\n```\ncode here\n```\n"
    assert [words(sentence) for sentence in sentences(text)] == [3, 3, 3, 1]
    assert mean_words(text) == 2.5
    assert sentences("See [the page](x.md). It costs 1.5 s.") == ["See the page.", "It costs 1.5 s."]


@pytest.mark.parametrize("page", PROSE, ids=relative)
def test_sentences_are_short(page):
    mean = mean_words(page.read_text(encoding="utf-8"))
    longest = sorted(sentences(page.read_text(encoding="utf-8")), key=words)[-3:]
    assert mean <= MOST_WORDS, f"{relative(page)}: {mean:.1f} words a sentence; the longest: {longest}"


def retired_in(text: str) -> dict[str, str]:
    """Retired word -> the form in which a text has it."""
    text = " ".join(without_code(text).split())
    return {
        name: found.group() for name, shape in RETIRED.items() if (found := re.search(rf"\b({shape})\b", text, re.I))
    }


@pytest.mark.parametrize("page", [*PAGES, *(ROOT / name for name in BESIDE)], ids=relative)
def test_no_retired_word(page):
    met = retired_in(page.read_text(encoding="utf-8"))
    assert not met, f"{relative(page)}: {met}"


def prose_of(source: str) -> list[str]:
    """The comments and strings of Python or Snakemake source, docstrings included. Adjacent ones are joined."""
    kinds = {"COMMENT", "STRING", "FSTRING_MIDDLE"}  # the last from Python 3.12 on
    between = {"NL", "FSTRING_START", "FSTRING_END"}
    found, joined = [], False
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        if kind in kinds:
            text = token.string.lstrip("#").strip()
            if re.match(r"[a-zA-Z]?[fF]", token.string):  # its placeholders are code
                text = re.sub(r"\{[^{}]*\}", "code", text)
            text = re.sub(r"^[a-zA-Z]{0,2}(\"\"\"|'\'\'|\"|')(.*)\1$", r"\2", text, flags=re.S)
            found[len(found) - joined :] = [f"{found[-1]} {text}" if joined else text]
        joined = bool(found) and (kind in kinds or (joined and kind in between))
    return found


def shown_by(path: Path) -> str:
    """What a page's template shows, or the comments and texts of its script or style: no tags, no names in code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".j2":
        return re.sub(r"<[^>]*>", " ", re.sub(r"\{%.*?%\}|\{\{.*?\}\}", " ", text, flags=re.S))
    if path.suffix in (".js", ".css"):
        return " ".join(re.findall(r"//[^\n]*|/\*.*?\*/|\"[^\"\n]* [^\"\n]*\"|`[^`]* [^`]*`", text, flags=re.S))
    return text


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_no_retired_word_in_the_prose_of_code(path):
    for text in prose_of(path.read_text(encoding="utf-8")):
        met = {word: form for word, form in retired_in(text).items() if (relative(path), word) not in EXCEPTED}
        assert not met, f"{relative(path)}: {met}: {text[:300]}"


@pytest.mark.parametrize("path", TEXTS, ids=relative)
def test_no_retired_word_in_what_is_read_beside_code(path):
    met = retired_in(shown_by(path))
    assert not met, f"{relative(path)}: {met}"


def test_the_prose_of_code_is_its_comments_and_strings():
    assert len(SOURCES) > 150 and len(TEXTS) >= 8  # all that there is, wherever it lies
    source = (
        'told = 1  # one\ndef mend(tells):\n    """Two."""\n    raise ValueError(f"three {told} is made "\n"of four")\n'
    )
    assert [retired_in(text) for text in prose_of(source)][:2] == [{}, {}]
    assert prose_of(source)[:2] == ["one", "Two."]
    assert any("made of" in retired_in(text) for text in prose_of(source))
    assert prose_of('rule one:\n    """Three."""\n    input: "four",  # five\n') == ["Three.", "four", "five"]
    assert prose_of("# six is\n# made of seven\n") == ["six is made of seven"]


def test_retired_words_are_found_in_any_form():
    assert all(re.search(rf"\b({RETIRED['mend']})\b", word) for word in ("mend", "mends", "mended", "mending"))
    assert not re.search(rf"\b({RETIRED['mend']})\b", "recommended amendment")
    assert re.search(rf"\b({RETIRED['what it buys']})\b", "what each step bought")


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=relative)
def test_links_lead_somewhere(page):
    text = re.sub(r"^( *)```.*?^\1```[^\S\n]*$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.is_relative_to(ROOT), f"{relative(page)}: {target} lies outside the repository"
        assert there.exists(), f"{relative(page)}: {target} does not exist"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{relative(page)}: {target}: no such heading"


def tracked() -> list[Path]:
    """Every text file of the repository that may cite a page."""
    git = shutil.which("git")
    answer = subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False) if git else None
    listed = answer.stdout.splitlines() if answer else []
    kept = {".py", ".smk", ".yaml", ".yml", ".md", ".txt", ".toml", ".sh", ""}
    if not listed:  # an unpacked archive
        folders = ("workflow", "tests", "docs", "envs")
        listed = [relative(path) for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
        listed += [path.name for path in ROOT.iterdir() if path.is_file()]
    return [ROOT / name for name in listed if Path(name).suffix in kept and (ROOT / name).is_file()]


def test_every_page_that_is_cited_exists():
    lost = []
    for path in tracked():
        for page in re.findall(
            r"\bdocs/[\w./-]+\.(?:md|py|yaml|png|html)", path.read_text(encoding="utf-8", errors="replace")
        ):
            made = page == "docs/example-report.html" and path.name in ("refresh.py", "test_docs.py", "Makefile")
            example = path.name == "test_cited_pages.py"
            if not (made or example) and not (ROOT / page).exists():
                lost.append(f"{relative(path)}: {page}")
    assert not lost


def test_every_page_is_linked_from_the_index():
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    pages = {relative(page).removeprefix("docs/") for page in PAGES} - {"README.md", "docs/README.md"}
    assert sorted(page for page in pages if f"]({page})" not in index) == []


def module(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_the_config_reference_is_the_schemas():
    reference = module("config_reference")
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "run make reference"
    assert "`learning_rate`" in reference.page() and "`fixed`" in reference.page()


HOLE = "\x00"


def literal(node: ast.expr) -> str:
    """A message with a hole for each value that is put in; an empty string if it is no text."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else HOLE
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(part) if isinstance(part, ast.Constant) else HOLE for part in node.values)
    if isinstance(node, ast.BinOp):
        return literal(node.left) + literal(node.right)
    return ""


def messages() -> tuple[dict[str, str], set[str]]:
    """Every message that is raised as a PromptpoolError (-> its place), and every other text of the code."""
    raised, texts = {}, set()
    for path in sorted((ROOT / "workflow").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
                texts.add(literal(node))
            fault = node.exc if isinstance(node, ast.Raise) else None
            if isinstance(fault, ast.Call) and getattr(fault.func, "id", "") == "PromptpoolError":
                text = literal(fault.args[0])
                if len(text.replace(HOLE, "")) > 12:
                    raised[text] = f"{relative(path)}:{node.lineno}"
    return raised, texts


def symptoms() -> list[str]:
    """The quoted lines of the troubleshooting page's first columns."""
    page = (ROOT / "docs/how-to/troubleshooting.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \|", page, flags=re.M)
    return [symptom for row in rows for symptom in re.findall(r"`([^`]+)`", row)]


def shape(symptom: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part.strip()) for part in symptom.split("...")), re.S)


OF_OTHERS = {  # lines that make, Python or Snakemake write
    "promptpool needs Python 3.11 or newer",
    "ModuleNotFoundError: No module named 'promptpool'",
    "FileNotFoundError: ... 'plan'",
    "LockException",
    "Directory cannot be locked",
    "IncompleteFilesException",
}


def test_every_symptom_is_a_message_of_the_code():
    raised, texts = messages()
    known = [*raised, *texts]
    lost = [one for one in symptoms() if one not in OF_OTHERS and not any(map(shape(one).search, known))]
    assert not lost, "reworded in the code? change docs/how-to/troubleshooting.md with it"


def test_every_error_has_a_line_in_troubleshooting():
    raised, _ = messages()
    assert len(raised) > 80
    shapes = [shape(one) for one in symptoms() if one not in OF_OTHERS]
    missing = {
        place: text.replace(HOLE, "...") for text, place in raised.items() if not any(s.search(text) for s in shapes)
    }
    assert not missing


def test_the_demos_report_is_published_and_linked_if_it_is_small(tmp_path):
    refresh = module("refresh")
    report, place = tmp_path / "report.html", tmp_path / "example.html"
    assert refresh.publish(report, place) == "" and not place.exists()
    report.write_text("x" * (refresh.LARGEST - 1))
    assert f"]({refresh.REPORT})" in refresh.publish(report, place) and place.exists()
    place.unlink()
    report.write_text("x" * refresh.LARGEST)
    assert refresh.publish(report, place) == "" and not place.exists()


def test_the_marks_of_a_refresh_are_there(tmp_path):
    refresh = module("refresh")
    for page, mark in [*((page, "demo-table") for page in refresh.PAGES), ("README.md", "example-report")]:
        copy = tmp_path / "page.md"
        shutil.copy(ROOT / page, copy)
        refresh.between(copy, mark, "FILLED")
        assert f"<!-- {mark} -->\nFILLED\n<!-- /{mark} -->" in copy.read_text(encoding="utf-8")
    linked = f"]({refresh.REPORT})" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert linked == (ROOT / refresh.REPORT).exists()


def columns_of(heading: str) -> list[str]:
    """The columns that docs/reference/tables.md lists under a heading."""
    page = (ROOT / "docs/reference/tables.md").read_text(encoding="utf-8")
    section = page.split(f"\n## `{heading}`\n")[1].split("\n## ")[0]
    return [
        name for cell in re.findall(r"^\| (`.+?) \|", section, flags=re.M) for name in re.findall(r"`([^`]+)`", cell)
    ]


def test_the_columns_of_every_table_are_listed():
    from promptpool.analysis.ablation_grid import AXES
    from promptpool.analysis.compare_ablation import RANKING
    from promptpool.attention.summarise_attention import SUMMARY_COLUMNS as SUMMARY
    from promptpool.attention.summarise_omissions import OMISSION_SUMMARY
    from promptpool.attention.summarise_value_norms import PLAIN_SHARES
    from promptpool.attention.table import ATTENTION_SCHEMA, OMISSION_COLUMNS
    from promptpool.choice.judge_choice import AGREEMENT, OUTCOME
    from promptpool.choice.propose_readout import CANDIDATES
    from promptpool.pairs.choose_negatives import NEGATIVES
    from promptpool.pairs.select_pairs import PAIR
    from promptpool.scoring.mteb_results import SCORE_COLUMNS
    from promptpool.statistics.samples import SEED_COLUMN
    from promptpool.training.tracking import TRAINING_COLUMNS, VALIDATION
    from sample_tables import ABLATION, sample_costs, sample_map, sample_summary

    assert columns_of("choice/candidates.parquet") == CANDIDATES
    assert columns_of("choice/outcome.parquet") == OUTCOME
    assert columns_of("choice/agreement.parquet") == AGREEMENT
    assert columns_of("scores.parquet") == [*SCORE_COLUMNS[:3], SEED_COLUMN, *SCORE_COLUMNS[3:]]
    assert columns_of("summary.parquet") == list(sample_summary().columns)
    assert columns_of("ablations/<name>.parquet") == [*ABLATION, "effect", "detectable", "seeds", *RANKING, *AXES]
    assert columns_of("attention.parquet") == ATTENTION_SCHEMA.names
    assert columns_of("attention_summary.parquet") == SUMMARY
    assert columns_of("value_norm_summary.parquet") == [*SUMMARY, *PLAIN_SHARES.values()]
    assert columns_of("omissions.parquet") == OMISSION_COLUMNS
    assert columns_of("omission_summary.parquet") == OMISSION_SUMMARY
    assert columns_of("pairs.parquet") == PAIR
    assert columns_of("negatives.parquet") == NEGATIVES
    assert columns_of("training.parquet") == TRAINING_COLUMNS
    assert columns_of("validation.parquet") == VALIDATION
    assert columns_of("costs/<model>.parquet") == list(sample_costs().columns)
    assert columns_of("map.parquet") == list(sample_map().columns)


def test_the_python_api_is_the_codes():
    from promptpool import Embedder

    page = (ROOT / "docs/reference/python-api.md").read_text(encoding="utf-8")
    for name in ("load", "encode", "grid"):
        section = re.search(rf"^## `(?:Embedder|embedder)\.{name}\((.*)\)`\n(.*?)(?=^## |\Z)", page, flags=re.M | re.S)
        for argument in list(inspect.signature(getattr(Embedder, name)).parameters)[name != "load" :]:
            assert re.search(rf"\b{argument}\b", section.group(1)) or f"`{argument}`" in section.group(2), (
                name,
                argument,
            )


def test_the_commands_are_the_makefiles():
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    page = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`make ([a-z-]+)`", page))
    assert named == targets


@pytest.mark.parametrize("study", sorted((ROOT / "docs/studies").glob("*.yaml")), ids=relative)
def test_the_docs_studies_are_valid(study, tmp_path, monkeypatch):
    from promptpool.config.resolve import resolve

    given = yaml.safe_load(study.read_text(encoding="utf-8"))
    (tmp_path / "workflow").symlink_to(ROOT / "workflow")
    monkeypatch.chdir(tmp_path)
    for spec in [*given.get("corpora", {}).values(), *given.get("tasks", {}).values()]:
        if spec["source"] == "file":  # of which only the tutorial's can be made here
            file = tmp_path / spec["path"]
            file.parent.mkdir(exist_ok=True)
            names = [spec.get(key, key) for key in ("column", "text", "label")] + ["text"]
            rows = pd.DataFrame({name: ["one", "two"] for name in names})
            rows.to_csv(file, index=False) if file.suffix == ".csv" else rows.to_parquet(file)
    assert resolve(given)["run"]


def test_the_study_that_is_written_by_hand_has_a_sample(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module("studies/tutorial_texts").main()
    study = yaml.safe_load((ROOT / "docs/studies/tutorial.yaml").read_text(encoding="utf-8"))
    for spec in [*study["corpora"].values(), *study["tasks"].values()]:
        assert len((tmp_path / spec["path"]).read_text(encoding="utf-8").splitlines()) > 100
