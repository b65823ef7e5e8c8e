"""What a rule's code digest holds: all that its stage computes, and no word, name or document."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from code_edits import WORKFLOW, change_all, changes, copy_of_workflow, forget, modules, reword, stages
from promptpool.generation.backend import BACKENDS
from promptpool.runtime import code_digest as code
from promptpool.runtime.code_digest import code_digest, computations, digest_of

STAGES = stages()
TABLE = yaml.safe_load(Path(__file__).with_name("what_runs_again.yaml").read_text(encoding="utf-8"))
GROUPS = {
    "every set": {name for name in STAGES if name.startswith("make_pairs")},
    "every figure": {name for name in STAGES if name.startswith("draw_")},
}
EACH = 1 if os.environ.get("PROMPTPOOL_EDITS") == "all" else 40  # of the single edits, one in so many


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.delenv(code.INHERITED, raising=False)


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> tuple[Path, dict[str, str], dict]:
    """A copy of the package and its scripts, its digests, and what was read of it."""
    kept, code.PACKAGE = code.PACKAGE, copy_of_workflow(tmp_path_factory.mktemp("copy")) / "promptpool"
    forget()
    yield code.PACKAGE.parent, digests(), dict(code._KNOWN)
    code.PACKAGE = kept
    forget()


@pytest.fixture
def checkout(copied, monkeypatch) -> Iterator[Path]:
    """The copy, which the digests are of; its files are put back."""
    room, _, known = copied
    texts = {path: path.read_bytes() for path in [*modules(room).values(), *(room / "promptpool/text").glob("*.*")]}
    monkeypatch.setattr(code, "PACKAGE", room / "promptpool")
    forget()
    code._KNOWN.update(known)
    yield room
    for path, text in texts.items():
        if path.read_bytes() != text:
            path.write_bytes(text)
    forget()


@pytest.fixture
def before(copied) -> dict[str, str]:
    return copied[1]


def digests() -> dict[str, str]:
    return {name: digest_of(computations(*given)) for name, given in STAGES.items()}


def run_again(before: dict[str, str]) -> set[str]:
    after = digests()
    return {name for name in before if before[name] != after[name]}


# --- over every module of the package ----------------------------------------------------------------


def test_other_words_in_every_module_run_nothing(checkout, before):
    """Errors, printed lines, progress bars, docstrings, comments, and the fields of sidecars."""
    counts = {name: reword(path) for name, path in modules(checkout).items()}
    forget()
    assert sum(counts.values()) > 1000
    assert {name for name, count in counts.items() if not count} == {"scoring.__init__"}  # one import
    assert run_again(before) == set()


def test_every_module_stands_in_the_table_of_what_runs_again():
    assert list(TABLE) == list(modules(WORKFLOW))


@pytest.mark.parametrize("module", TABLE)
def test_a_module_that_computes_something_else_runs(checkout, before, module):
    expected = set().union(*(GROUPS.get(name, {name}) for name in TABLE[module]))
    path = modules(checkout)[module]
    path.write_text(change_all(path.read_text(encoding="utf-8")), encoding="utf-8")
    forget(module)
    assert run_again(before) == expected


def test_one_definition_that_computes_something_else_runs_the_stages_that_reach_it(checkout, before):
    """A sample; all of them where PROMPTPOOL_EDITS is `all` (make test-reruns)."""
    reached = {name: set(computations(*given)) for name, given in STAGES.items()}
    places, wrong = 0, []
    for module, path in modules(checkout).items():
        text = path.read_text(encoding="utf-8")
        for number, (name, changed) in enumerate(changes(text)):
            if (places := places + 1) % EACH:
                continue
            path.write_text(changed(), encoding="utf-8")
            forget(module)
            runs = run_again(before)
            wanted = {(module, name.split(".")[0]), (module, "*")}  # "*": named by its path, so that all of it counts
            reach = {stage for stage in reached if wanted & reached[stage]}
            # A private method may serve messages alone. Whatever else is not reached by its name stands in SINGLE.
            expected = KNOWN.get((module, name), reach)
            if runs != expected and (runs or "._" not in name):
                wrong.append((module, number, name, runs ^ expected))
        path.write_text(text, encoding="utf-8")
        forget(module)
    assert wrong == [] and places > 1000


# What is written into a result for people to read, and what is read from texts or from a library's message.
WRITTEN_OUT = {
    "analysis.ablation_grid", "analysis.choice_rows", "analysis.propose_checkpoint", "analysis.score_table",
    "analysis.summarise_scores", "analysis.synthetic", "export.check_parity", "export.chunk_notes",
    "export.export_model", "export.gguf_files", "export.model_card", "export.readout_modules", "export.served_parity",
    "export.serving_engines", "export.serving_notes", "generation.openai_backend", "generation.thinking",
    "models.backbone", "models.both_ways", "models.memory", "models.one_way", "models.precision",
    "pairs.augmentation", "scoring.judge_tuning", "scoring.map_texts", "scoring.verdict", "tasks.mteb_tasks",
    "tasks.retrieval_task",
}  # fmt: skip


def test_prose_that_is_digested_is_part_of_a_result():
    """A message that a new helper passes on in a way that computation.py does not know would show up here."""
    found = set()
    for name, given in STAGES.items():
        if not name.startswith(("draw", "build_report")):
            for (module, _), text in computations(*given).items():
                strings = [m[2] for m in re.finditer(r"Constant\((['\"])(.*?)\1(?=[,)])", text)]
                if any(re.search(r"[a-z]{2,} [a-z]{2,}", string) for string in strings):
                    found.add(module)
    assert found == WRITTEN_OUT


# --- single edits ------------------------------------------------------------------------------------

POOLS = {
    "embed_checkpoint", "check_parity", "judge_tuning", "make_pairs semantic", "choose_negatives model", "omit_words",
}  # fmt: skip
SINGLE = [
    ("tasks.build_task", "sample_texts", {"measure_attention", "measure_costs", "measure_value_norms", "omit_words"}),
    ("tasks.build_task", "build_task", {"build_task"}),
    ("embedding.pooling", "position_weights", POOLS),
    ("training.losses", "info_nce", {"train_adapter"}),
    ("pairs.semantic", "similarities", {"make_pairs semantic"}),
    ("generation.server_client", "ServerClient.given_up", set()),  # an error's words
    ("scoring.replicates", "_retrieval", {"score_checkpoint", "score_baseline", "score_readouts"}),
    ("figures.tuned", "tuned", {"draw_tuned"}),
    (
        "figures.readers",
        "read_costs",
        {"draw_cost_scores", "draw_layer_curves", "draw_size_scores"},
    ),  # found by an argument's name
    ("figures.readers", "read_shown", {"draw_attention_bars"}),
    ("data.hub_tables", "read_hub", {"build_corpus"}),
    ("data.topics", "read_topics", {"build_task"}),
    (
        "generation.answers",
        "asked_wait",
        {"make_pairs OpenAIBackend", "embed_baseline", "check_serving"},
    ),  # what an exception carries
    ("generation.answers", "message_of", set()),
    ("generation.watch", "thinking_advice", set()),
    ("generation.checks", "_other", set()),  # half a message
    ("generation.thinking", "answer_of", {f"make_pairs {kind}" for kind in BACKENDS.values()}),
    ("analysis.summarise_scores", "summarise_scores", {"summarise_scores"}),
    ("analysis.compare_ablation", "compare_ablation", {"compare_ablation"}),
    ("generation.inside_vllm.vllm_worker", "main", {"make_pairs VllmBackend"}),  # in another interpreter, by its path
    ("training.train_adapter", "main", {"train_adapter"}),  # in another process, found by its name
    ("generation.server_client", "ServerClient.refused", set()),  # a message alone
]


KNOWN = {(module, name): runs for module, name, runs in SINGLE}


@pytest.mark.parametrize(("module", "name", "runs"), SINGLE, ids=[f"{module}.{name}" for module, name, _ in SINGLE])
def test_a_changed_function_runs(checkout, before, module, name, runs):
    path = modules(checkout)[module]
    path.write_text(dict(changes(path.read_text(encoding="utf-8")))[name](), encoding="utf-8")
    forget(module)
    assert run_again(before) == runs


def test_a_renamed_helper_runs_nothing(checkout, before):
    """A user who upgrades does not train again because a function has a better name."""
    for path in modules(checkout).values():
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r"\binfo_nce\b", "contrastive", text), encoding="utf-8")
    assert "contrastive(" in modules(checkout)["training.losses"].read_text(encoding="utf-8")
    forget()
    assert run_again(before) == set()


def test_a_helper_that_moved_to_another_module_runs_nothing(checkout, before):
    old, new = (modules(checkout)[name] for name in ("generation.backend", "text.normalisation"))
    text = old.read_text(encoding="utf-8")
    function = next(node for node in ast.parse(text).body if getattr(node, "name", "") == "encodable")
    source = ast.get_source_segment(text, function)
    text = text.replace(source, "")
    text = re.sub(r"^(from \.\.errors .*\n)", r"\1from ..text.normalisation import encodable\n", text, flags=re.M)
    old.write_text(text, encoding="utf-8")
    with new.open("a", encoding="utf-8") as handle:
        handle.write(f"\n\n{source}\n")
    forget()
    reached = computations("make_pairs", "generation.openai_backend.OpenAIBackend")
    assert ("text.normalisation", "encodable") in reached and ("generation.backend", "encodable") not in reached
    assert run_again(before) == set()


@pytest.mark.parametrize(
    ("resource", "runs"),
    [
        ("boilerplate.yaml", GROUPS["every set"]),
        ("function_words.txt", {"measure_attention", "measure_value_norms", "omit_words"}),
    ],
)
def test_a_changed_list_of_words_runs_what_reads_it(checkout, before, resource, runs):
    with (checkout / "promptpool/text" / resource).open("a", encoding="utf-8") as handle:
        handle.write("\n")
    forget()
    assert run_again(before) == runs


def test_a_file_of_the_machine_that_a_constant_names_runs_nothing(checkout, tmp_path):
    """/proc/meminfo is another one each time: with its content in a digest, every run would train again."""
    outside, path = tmp_path / "meminfo", modules(checkout)["training.lora"]
    text = path.read_text(encoding="utf-8")
    assert '"/proc/meminfo"' in text
    path.write_text(text.replace('"/proc/meminfo"', repr(str(outside))), encoding="utf-8")
    found = []
    for content in ("one", "another"):
        outside.write_text(content)
        forget()
        found.append(digests())
    assert found[0] == found[1]


# --- the rules ---------------------------------------------------------------------------------------

# These make no result of a study, or make it from their inputs alone; an hour's training is never started unasked.
WITHOUT = {"plan", "prefetch", "fetch_snapshot", "unpack_adapter", "train_base_model"}


def test_every_rule_that_computes_has_the_digest_of_its_own_script():
    seen = set()
    for path in (WORKFLOW / "rules").glob("*.smk"):
        for rule in re.split(r"\n\s*(?:rule|checkpoint)(?: \w+)?:", path.read_text(encoding="utf-8"))[1:]:
            script = re.search(r"scripts/(\w+)\.py", rule)
            if script:
                seen.add(script[1])
                named = re.findall(r'code=(?:lambda w(?:, figure=FIGURE)?: )?code_digest\("(\w+)"', rule)
                assert named == ([] if script[1] in WITHOUT else [script[1]]), path
    assert seen == {path.stem for path in (WORKFLOW / "scripts").glob("*.py")}


def test_what_draws_is_known_to_figures_and_the_report_alone():
    """A colour or a label must not make anything run again above the figures."""
    for name, given in STAGES.items():
        drawn = {module for module, _ in computations(*given) if module.startswith(("figures.", "report."))}
        assert bool(drawn) == name.startswith(("draw", "build_report")), name


def test_a_definition_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match=r"figures\.draw\.draw_nothing: no such definition"):
        code_digest("draw", "figures.draw.draw_nothing")


def test_the_processes_of_jobs_get_the_digests_and_see_an_edit(checkout, monkeypatch):
    first = code_digest("gather_scores")
    monkeypatch.setattr(code, "computations", None)
    forget()
    assert code_digest("gather_scores") == first  # from the environment: nothing is parsed
    monkeypatch.undo()
    monkeypatch.setattr(code, "PACKAGE", checkout / "promptpool")
    path = modules(checkout)["analysis.gather_scores"]
    path.write_text(change_all(path.read_text(encoding="utf-8")), encoding="utf-8")
    forget()
    assert code_digest("gather_scores") != first


# --- a package of two functions ----------------------------------------------------------------------

STAGE = '''"""A stage."""
import sys
import warnings
from pathlib import Path

from .errors import PromptpoolError
from .idea import answer, LIMIT
from .artifacts.files import write_sidecar


def run(path, rows):
    """Runs."""
    total, noted = 0, []
    for row in rows:
        if row > LIMIT:
            raise PromptpoolError(f"{path}: row {row} is too large; lower it")
        total = total + row
    where = f"{path}: {total}"
    if total > 7:
        print(f"{where}: much", file=sys.stderr)
    require(total, f"{where} is nothing")
    result = answer(total)
    write_sidecar(path, rows=len(rows), noted=noted)
    return result


def require(total, message):
    if not total:
        warnings.warn(message)
        raise PromptpoolError(message)
'''
FAULT = """

class OwnError(Exception):
    def __init__(self, message, wait=0):
        super().__init__(message)
        self.wait = wait
"""
IDEA = '''"""An idea."""
LIMIT: int = 9


def answer(total: int) -> int:
    """Says it."""
    return total * 42


def other():
    return 1
'''


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> Path:
    package = tmp_path / "promptpool"
    (package / "artifacts").mkdir(parents=True)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/stage.py").write_text("from promptpool.stage import run\n\nrun(snakemake.output[0], [1])\n")
    for name, text in {
        "stage": STAGE,
        "idea": IDEA,
        "errors": "class PromptpoolError(Exception):\n    pass\n",
        "artifacts/files": "def write_sidecar(path, **facts):\n    pass\n",
    }.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.setattr(code, "PACKAGE", package)
    forget()
    return tmp_path


def changed(room: Path, file: str, old: str, new: str) -> bool:
    """Whether an edit changes the digest of the stage."""
    before = code_digest("stage")
    path = room / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    forget()
    return code_digest("stage") != before


S, I = "promptpool/stage.py", "promptpool/idea.py"  # noqa: E741


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (I, "return total * 42", "return total * 42  # why"),
        (I, "Says it.", "Says something else."),
        (I, "\n\n\n", "\n\n\n\n\n"),
        (I, "LIMIT: int = 9", "LIMIT = 9"),
        (I, "total: int) -> int", "total: float) -> float"),
        (I, "return 1", "return 2"),
        (S, "is too large; lower it", "is larger than LIMIT"),
        (S, "is too large", "is above {LIMIT + 1}"),
        (S, '{where}: much", file=sys.stderr', 'Note: {where}", file=sys.stdout'),
        (S, "if total > 7:", "if total > 8:"),
        (S, '{path}: {total}"', '{path} has {total}"'),
        (S, "is nothing", "is zero"),
        (S, "message", "line"),
        (S, "warnings.warn(message)", "print(message)"),
        (S, "rows=len(rows), noted=noted", "count=len(rows)"),
        (S, "result", "found"),
        (S, "require", "require_something"),
        (S, "import sys\nimport warnings\n", "import warnings\nimport sys\n"),
        (S, "def require(", "def unused():\n    return 5\n\n\ndef require("),
        ("promptpool/artifacts/files.py", "pass", "return 3"),
        ("scripts/stage.py", "\n\n", "\n\n# Now.\n"),
    ],
)
def test_words_and_names_do_not_count(tiny, file, old, new):
    assert not changed(tiny, file, old, new)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (I, "42", "43"),
        (I, "LIMIT: int = 9", "LIMIT: int = 8"),
        (I, "return total * 42", "total += 1\n    return total * 42"),
        (S, "row > LIMIT", "row >= LIMIT"),
        (S, "total + row", "total - row"),
        (S, "raise PromptpoolError(f", "raise ValueError(f"),
        (S, "if not total", "if total < 0"),
        (S, "require(total, f", "require(len(rows), f"),
        (S, "        raise PromptpoolError(message)\n", ""),
        (S, "result = answer(total)", "result = answer(rows)"),
        ("scripts/stage.py", "[1]", "[2]"),
    ],
)
def test_a_computation_counts(tiny, file, old, new):
    assert changed(tiny, file, old, new)


def test_of_an_exception_the_first_argument_alone_is_a_message(tiny):
    """What an exception carries besides its message may decide what is computed where it is caught."""
    path = tiny / I
    path.write_text(path.read_text() + FAULT)
    path = tiny / S
    text = path.read_text().replace("import answer, LIMIT", "import answer, LIMIT, OwnError")
    path.write_text(text.replace("raise PromptpoolError(message)", 'raise OwnError("nothing there", rows)'))
    forget()
    assert not changed(tiny, S, '"nothing there"', 'f"{total} is too little"')
    assert changed(tiny, S, 'too little", rows)', 'too little", total)')
    assert changed(tiny, S, 'too little", total)', 'too little", wait=total)')
    assert changed(tiny, S, 'too little", wait=total)', 'too little", wait=total + 1)')


@pytest.mark.parametrize("teller", ["tell", "rows.tell", "say"])
def test_what_is_told_does_not_count(tiny, teller):
    assert not changed(tiny, S, "    result =", f'    {teller}(f"{{total}} rows")\n    result =')
    assert not changed(tiny, S, "} rows", "} lines")


def test_two_names_that_change_places_count(tiny):
    """Names are numbered, and what they stand for is not lost with them."""
    assert changed(tiny, S, "answer(total)", "answer(total) - LIMIT")
    assert changed(tiny, S, "answer(total) - LIMIT", "LIMIT - answer(total)")


@pytest.mark.parametrize(
    "line", ["header = next(rows)", "header = rows.pop(0)", "header = (first := rows[0])", "rows.sort()"]
)
def test_a_line_with_an_effect_counts_though_only_a_message_uses_its_value(tiny, line):
    assert changed(tiny, S, "    total, noted = 0, []\n", f"    total, noted = 0, []\n    {line}\n")


def test_a_local_name_does_not_hide_what_the_module_means_by_it_elsewhere(tiny):
    call = "    result = answer(sum(answer for answer in rows))"
    assert changed(tiny, S, "    result = answer(total)", call)
    assert ("idea", "answer") in computations("stage")
