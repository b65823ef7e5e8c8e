"""A fuzzer: seeded nonsense into everything that reads what users, models and servers write.

    python tests/faults/fuzz.py --cases 100000 --seed 1

A case fails where something else than a PromptpoolError of one line comes out, where anything is executed or sent, and
where a file is written outside the fuzzer's own folder (an audit hook sees all three). A failed case is printed with
its number; the same seed and `--only NUMBER` repeats it alone.
"""

# ruff: noqa: E402
import argparse
import contextlib
import copy
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[2] / "workflow")]

import pandas as pd
import yaml
from promptpool.artifacts.files import text_digest
from promptpool.artifacts.integrity import read_sealed
from promptpool.config.resolve import resolve
from promptpool.config.schema import schema
from promptpool.data.build_corpus import text_corpus
from promptpool.data.tables import read_labelled
from promptpool.errors import PromptpoolError
from promptpool.generation.backend import encodable, tidy
from promptpool.hub.snapshots import read_lock
from promptpool.pairs.augmentation import halves, noisers
from promptpool.pairs.contamination import contaminated
from promptpool.pairs.filters import first_uses, judge_pairs
from promptpool.report.build_report import environment
from promptpool.report.pairs import pair_section
from promptpool.study.study import Study
from promptpool.templates import Composer, Template, families, family_name
from promptpool.text.near_duplicates import near_duplicates
from tiny import tiny_tokenizer
from tiny_study import sentences, study

PIECES = (
    *("a", "the oven", "42", " ", "  ", "\n", "\t", "\r\n", "\0", "\x1b[31m", "\u2028", "\ufeff", "\u200b", "\u202e"),
    *("{text}", "{", "}", "{}", "{0}", "{text!r}", "{{text}}", "%s", "$A", "$(id)", "`id`", "; rm -rf x", "|", "&&"),
    *(
        "<script>alert(1)</script>",
        "</script>",
        "<!--",
        "&amp;",
        '"',
        "'",
        "\\",
        "../",
        "..",
        "/etc/passwd",
        "~",
        "C:\\",
    ),
    *("مرحبا بالعالم", "שלום", "日本語のテキスト", "naïve", "e\u0301te\u0301", "a" + "\u0301" * 40, "\U0001f642"),
    *("\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\ud800", "\udfff", "ﷺ", "\U000e0041"),
    *("<|end|>", "<|start|>", "</s>", "<think>", "</think>", "!!python/object/apply:os.system [id]", "*a", "&a", "<<"),
    *("null", "true", "yes", "1e999", "-1", "0x10", "NaN", "-", ",", ":", "#", "@", "|\n", "x" * 300, "-" * 80),
)
VALUES = (
    *(None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**30, -0.0, 0.5, 1e308, float("inf"), float("nan"), "", " "),
    *(
        [],
        [[]],
        [None],
        {},
        {"": {}},
        {"a": {"b": []}},
        "\0",
        "../../x",
        "/etc/passwd",
        "a/b",
        "..",
        "x" * 5000,
        "\ud800",
    ),
    *(
        "{text}",
        "{text} {text}",
        "{text}" * 3,
        "<b>",
        "base",
        "baseline",
        "small",
        "tuned@4",
        "tuned@",
        "@",
        "mean:text",
    ),
)
FORBIDDEN = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "socket.connect",
    "pty",
)


def any_text(draw: random.Random, most: int = 12) -> str:
    """Some pieces; now and then very many, or any code points at all."""
    kind = draw.random()
    if kind < 0.05:
        return "".join(chr(draw.randrange(0x110000)) for _ in range(draw.randrange(40)))
    if kind < 0.06:
        return draw.choice(PIECES) * draw.randrange(1, 2000)
    return "".join(draw.choice(PIECES) for _ in range(draw.randrange(most)))


def a_config(draw: random.Random, folder: Path) -> None:
    """The tiny study with some places changed, cut, doubled or renamed."""
    config = copy.deepcopy(study())
    for place, key in (("models/small", "path"), ("corpora/lines", "path"), ("tasks/topics", "path")):
        section, name = place.split("/")
        config[section][name][key] = str(folder / "given" / config[section][name][key])
    for _ in range(draw.randrange(1, 4)):
        at, key = draw.choice(list(_places(config)))
        action = draw.random()
        if action < 0.6:
            at[key] = copy.deepcopy(draw.choice(VALUES)) if draw.random() < 0.6 else any_text(draw, 4)
        elif action < 0.75:
            del at[key]
        elif isinstance(at, dict):
            known = draw.choice([*schema()["properties"], *(str(k) for k in at)])
            name = draw.choice([any_text(draw, 3), known, draw.choice(VALUES[:14])])
            with contextlib.suppress(TypeError):
                at[name] = copy.deepcopy(draw.choice([at.get(key), draw.choice(VALUES)]))
    full = resolve(config, "study.yaml")
    assert resolve(full) == full or "nan" in repr(full), "resolving a resolved config changed it"
    known = Study(full)
    paths = [known.results, *known.task_texts().values(), *known.families]
    paths += [f"{known.results}/adapters/{name}" for name in full["adapters"]]
    for path in paths:
        assert ".." not in Path(path).parts and not Path(path).is_absolute(), f"{path} leaves results/"


def _places(value: object):
    if isinstance(value, dict):
        for key in list(value):
            yield value, key
            yield from _places(value[key])
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield value, index
            yield from _places(item)


def a_yaml(draw: random.Random, folder: Path) -> None:
    """The study's YAML as text, damaged; read as Snakemake reads it, safely."""
    text = yaml.safe_dump(study(), allow_unicode=True)
    for _ in range(draw.randrange(1, 4)):
        at = draw.randrange(len(text))
        text = text[:at] + any_text(draw, 3) + text[at + draw.randrange(12) :]
    try:
        config = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):  # Snakemake names the file and the line
        return
    resolve(config, "study.yaml")


def a_template(draw: random.Random, folder: Path) -> None:
    written = any_text(draw) + draw.choice(["", "{text}", "{text}" + any_text(draw) + "{text}"]) + any_text(draw)
    parsed, text = Template.parse("mine", written), any_text(draw)
    assert str(parsed) == written
    assert parsed.filled(text) == written.replace("{text}", "\1").replace("\1", text) or "\1" in written + text
    assert "/" not in family_name(parsed.before) and ".." not in family_name(parsed.before)
    families({"a": written, "b": written + "x"})


COMPOSERS = [Composer(tiny_tokenizer(bos=bos), 16, how) for bos in (True, False) for how in ("none", "prompteol")]


def a_composition(draw: random.Random, folder: Path) -> None:
    composer = draw.choice(COMPOSERS)
    template = Template("mine", encodable(any_text(draw)), encodable(any_text(draw)))
    text = any_text(draw)
    if draw.random() < 0.002:
        piece = draw.choice(PIECES)
        text = piece * (1_000_000 // len(piece))
    found = composer.compose(template, text, eos=draw.random() < 0.5)
    assert len(found.spans()) == len(found.ids) and found.text <= 16
    assert found.suffix == len(composer.piece(template.suffix)), "a prompt was cut"
    assert all(0 <= number < len(composer.tokenizer) for number in found.ids)
    if draw.random() < 0.3:
        composer.joint(template, [text])


def a_labelled_file(draw: random.Random, folder: Path) -> None:
    path = folder / f"labelled{draw.choice(['.csv', '.tsv', '.jsonl', '.parquet', '.txt', ''])}"
    rows = [{"text": any_text(draw), "label": draw.choice(["a", "b", any_text(draw, 3), None])} for _ in range(6)]
    if path.suffix == ".jsonl":
        content = "\n".join(json.dumps(row) for row in rows).encode()
    elif path.suffix == ".parquet":
        frame = pd.DataFrame([{key: encodable(str(value)) for key, value in row.items()} for row in rows])
        content = frame.to_parquet()
    else:
        sep = "\t" if path.suffix == ".tsv" else ","
        lines = [sep.join(json.dumps(str(row[key]))[1:-1] for key in row) for row in rows]
        content = "\n".join([f"text{sep}label", *lines]).encode()
        if draw.random() < 0.5:
            content = content.decode("unicode_escape", "replace").encode("utf-8", "surrogatepass")
    if draw.random() < 0.6:
        content = damaged(content, draw)
    path.write_bytes(content)
    table = read_labelled(
        path, *draw.choice([("text", "label"), ("label", "text"), ("text", "text"), ("x", "label")]), "w"
    )
    assert set(table) == {"text", "label"} and table["label"].nunique() >= 2


def damaged(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.randrange(1, 6)):
        if not changed:
            break
        at = draw.randrange(len(changed))
        action = draw.random()
        if action < 0.5:
            changed[at] ^= 1 << draw.randrange(8)
        elif action < 0.7:
            del changed[at : at + draw.randrange(1, 30)]
        elif action < 0.9:
            changed[at:at] = draw.choice(PIECES).encode("utf-8", "surrogatepass")
        else:
            del changed[at:]
    return bytes(changed)


FILTERS = {
    "min_words": 1, "max_echo": 0.8, "length_ratio": [0.05, 20], "script": True, "language": True, "refusal": True,
    "leaked": True, "cut": True, "near_duplicate": 0.9, "semantic": None,
}  # fmt: skip
NOISE = noisers({"deletion": 0.3, "swaps": 2, "characters": 0.2})


def some_pairs(draw: random.Random, folder: Path) -> None:
    # What is written by a model or read from a file is made fit for UTF-8 on its way in.
    texts, positives = ([tidy(any_text(draw)) for _ in range(3)] for _ in range(2))
    texts = [encodable(text) for text in texts]
    reasons = judge_pairs(texts, positives, ["detail", "identity", "noise"], FILTERS, {"detail": "Say more of: {text}"})
    assert len(reasons) == 3
    for text in texts:
        halves(text, draw.choice([text, text + any_text(draw)]))
        for noiser in NOISE.values():
            assert noiser(text, random.Random(1)) == noiser(text, random.Random(1))
        text_digest(text)
        tidy(text).encode()
    first_uses(texts)
    near_duplicates(texts + positives, 0.8)
    contaminated(texts, positives, draw.choice([None, 0.8]))
    text_corpus(pd.DataFrame({"text": texts, "positive": positives}))


def a_json_of_ours(draw: random.Random, folder: Path) -> None:
    """A sidecar and a lock, damaged."""
    path = folder / "x.json"
    good = json.dumps({"digest": "0" * 64, "files": {"a": "b"}, "spec": {"x": [1, None]}})
    path.write_bytes(damaged(good.encode(), draw))
    read_sealed(path)
    read_lock(path)


PAGE = None


def a_report(draw: random.Random, folder: Path) -> None:
    """Pairs on the report's page: markup in them adds no element."""
    global PAGE
    PAGE = PAGE or environment().from_string(
        "{% for s in p.styles %}{% for r in s.sample %}<p>{{ r.text }}|{{ r.positive }}</p>{% endfor %}{% endfor %}"
    )
    texts = [encodable(any_text(draw)) for _ in range(2)]
    table = pd.DataFrame(
        {"text": texts, "positive": texts[::-1], "style": encodable(any_text(draw, 2)), "source_id": ["1", "2"]}
    )
    section = pair_section(any_text(draw, 2), table, {})
    html = PAGE.render(p=section)
    assert html.count("<") == html.count("<p>") + html.count("</p>"), "markup got through"


# kind -> (case, share of the cases)
KINDS: dict[str, tuple[Callable[[random.Random, Path], None], float]] = {
    "config": (a_config, 0.10),
    "yaml": (a_yaml, 0.05),
    "template": (a_template, 0.25),
    "composition": (a_composition, 0.20),
    "labelled file": (a_labelled_file, 0.10),
    "pairs": (some_pairs, 0.10),
    "our json": (a_json_of_ours, 0.15),
    "report": (a_report, 0.05),
}


class Watch:
    """Sees what is executed, sent, and written outside a folder, while `on`."""

    def __init__(self, folder: Path):
        self.folder, self.on, self.seen = os.path.realpath(folder), False, []
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple) -> None:
        if not self.on:
            return
        if event.startswith(FORBIDDEN):
            self.seen.append(f"{event} {arguments!r:.200}")
        elif event == "open":
            path, mode, flags = arguments
            writes = (isinstance(mode, str) and set(mode) & set("wax+")) or (flags or 0) & (os.O_WRONLY | os.O_RDWR)
            nameless = path == tempfile.gettempdir()  # a temporary file without a name
            if writes and isinstance(path, str) and not nameless and not self._inside(path):
                self.seen.append(f"open {path!r} {mode}")
        elif event in ("os.remove", "os.rename", "os.mkdir", "os.rmdir"):
            path = os.fsdecode(arguments[0])
            if not self._inside(path):
                self.seen.append(f"{event} {path!r}")

    def _inside(self, path: str) -> bool:
        return os.path.realpath(path).startswith(self.folder)


def run(numbers: Sequence[int], seed: int, limit: float | None = None) -> tuple[Counter, list[str]]:
    """(kind and outcome -> cases, faults). The draw of a case depends on seed and number alone."""
    counts: Counter = Counter()
    faults: list[str] = []
    started = time.monotonic()
    names, shares = list(KINDS), [share for _, share in KINDS.values()]
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room)
        given = folder / "given"
        given.mkdir()
        sentences(1, 12).to_csv(given / "labelled.csv", index=False)
        sentences(2, 9)[["text"]].to_csv(given / "corpus.csv", index=False)
        (given / "model").mkdir()
        (given / "model/config.json").write_text('{"num_hidden_layers": 2}')
        watch = Watch(folder)
        for done, number in enumerate(numbers):
            if done and done % 10_000 == 0:
                print(f"{done} of {len(numbers)} cases, {time.monotonic() - started:.0f} s", flush=True)
            if limit and time.monotonic() - started > limit:
                break
            draw = random.Random(f"{seed}:{number}")
            kind = draw.choices(names, shares)[0]
            watch.on = True
            try:
                KINDS[kind][0](draw, folder)
                outcome = "taken"
            except PromptpoolError as error:
                outcome = "named"
                if "\n" in str(error) or "\r" in str(error) or not str(error).strip():
                    faults.append(f"case {number} ({kind}): not one line: {error!r:.300}")
            except BaseException as error:
                outcome = "crashed"
                faults.append(f"case {number} ({kind}): {type(error).__name__}: {error!s:.300}")
                if len(numbers) == 1:
                    raise
            finally:
                watch.on = False
            counts[kind, outcome] += 1
            for event in watch.seen:
                faults.append(f"case {number} ({kind}): {event}")
            watch.seen.clear()
    return counts, faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="one case alone, with its traceback")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, help="stop after so long")
    given = parser.parse_args()
    started = time.monotonic()
    counts: Counter = Counter()
    faults: list[str] = []
    if given.only is not None:
        counts, faults = run([given.only], given.seed)
    else:
        with ProcessPoolExecutor(given.processes, multiprocessing.get_context("spawn")) as pool:
            shares = [range(part, given.cases, given.processes) for part in range(given.processes)]
            for one in [pool.submit(run, share, given.seed, given.seconds) for share in shares]:
                counts += one.result()[0]
                faults += one.result()[1]
    for kind in KINDS:
        print(f"{kind:14}", *(f"{counts[kind, outcome]:8} {outcome}" for outcome in ("taken", "named", "crashed")))
    for fault in faults[:40]:
        print(fault.encode("utf-8", "backslashreplace").decode())
    seconds = time.monotonic() - started
    print(f"{sum(counts.values())} cases in {seconds:.0f} s, {len(faults)} faults (seed {given.seed})")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
