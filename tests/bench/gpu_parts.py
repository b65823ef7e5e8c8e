"""What bench_gpu measures, a function a part. Each runs in a process of its own and notes a row as soon as it has it.

A part that sees that its next measurement would not fit in its time leaves it out and says so.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

import pandas as pd
import torch
from gpu_models import ROOT, SHAPES, build_model, docstrings, multiplied, pairs_of, peak_flops, texts_of
from promptpool.artifacts.files import sidecar_path
from promptpool.embedding.embedder import Embedder
from promptpool.generation.backend import Request, WriterSetup, open_backend
from promptpool.models.precision import in_words

PROMPTS = {
    "none": "{text}",
    "eol": 'This sentence: "{text}" means in one word:',
    "cluster": 'This sentence: "{text}" belongs to the following cluster:',
}
RECIPE = {
    "prompt": "cluster", "pooling": "last", "epochs": None, "negatives": "batch", "learning_rate": 5e-5,
    "warmup_steps": 0, "temperature": 0.2, "margin": 0.0, "symmetric": False, "mask_duplicates": True,
    "group_by_length": False, "validation": 0, "quantize": None, "weight_decay": 0.0, "seed": 1,
    "tokenization": "composed", "max_text_tokens": 100, "dtype": "auto", "weights": None,
    "lora": {"rank": 64, "alpha": 16, "dropout": 0.05,
             "target_modules": ["q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]},
}  # fmt: skip
SAMPLING = {"max_new_tokens": 64, "temperature": 0.7, "top_p": 0.9}  # config.yaml's
VLLM = {
    "python": None, "tensor_parallel": 1, "gpu_memory": 0.8, "max_model_len": 1024, "prefix_caching": True,
    "enforce_eager": None, "kv_cache_gib": 2,
}  # fmt: skip
MEASURED = 10.0  # seconds of one measurement, after a first round that does not count
ROUNDS = 20


@dataclass
class Bench:
    """How a part runs. device: cpu or cuda, pretended or not; models: a folder; end: when its time is over (monotonic);
    note: what takes a row of the result; pretended: whether the GPU is tests/pretended_gpu's.
    """

    device: torch.device
    toy: bool
    models: Path
    end: float
    note: Callable[[dict], None]
    pretended: bool = False
    longest: float = field(default=0.0)  # seconds of its longest measurement so far

    @property
    def left(self) -> float:
        return self.end - time.monotonic()

    def fits(self, **row: object) -> bool:
        """Whether another measurement as long as the longest so far fits; where not, its row says `cut`."""
        fits = self.left > self.longest
        if not fits:
            self.note({**row, "cut": f"{max(0, self.left):.0f} s were left, and one takes {self.longest:.0f} s"})
        return fits

    def measure(self, work: Callable[[], int]) -> dict:
        """work: runs once and returns its tokens. Rounds of it for MEASURED seconds after one that does not count."""
        started = time.monotonic()
        self.empty()
        work()
        self.wait()
        seconds, tokens, rounds, wanted = 0.0, 0, 0, 0.0 if self.toy else MEASURED
        while not rounds or (seconds < wanted and rounds < ROUNDS and self.left > 2 * seconds / rounds):
            began = time.monotonic()
            tokens += work()
            self.wait()
            seconds, rounds = seconds + time.monotonic() - began, rounds + 1
        self.longest = max(self.longest, time.monotonic() - started)
        return {"tokens_per_second": round(tokens / seconds, 1), "tokens": tokens, "seconds": round(seconds, 3),
                "rounds": rounds, "memory_gib": self.memory()}  # fmt: skip

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def empty(self) -> None:
        """Gives back the memory of the measurement before."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def memory(self) -> float | None:
        """GiB that torch held of the GPU at most, weights included; None on a CPU.

        Held, not used: the embedder resets the peak of what is used after every batch, and what is held only grows.
        """
        if self.device.type != "cuda":
            return None
        return round(torch.cuda.max_memory_reserved(self.device) / 2**30, 2)


def embedding(bench: Bench) -> None:
    """Tokens a second through the model, three prompts x two poolings, in `auto` (TF32 products) and in bfloat16."""
    table = docstrings(bench.toy)
    name = torch.cuda.get_device_name(bench.device) if bench.device.type == "cuda" else ""
    for model in SHAPES:
        for dtype in ("auto", "bfloat16"):
            engine = Embedder.load(str(build_model(bench.models, model, bench.toy)), device=bench.device, dtype=dtype)
            weights, peak = multiplied(engine.backbone.model), peak_flops(name)
            for length, most in (("short", 8_000), ("long", 1_000)):
                row = {"model": model, "dtype": dtype, "texts": length}
                texts = texts_of(table, length)[: 4 if bench.toy else most]
                if not bench.fits(**row):
                    continue

                def work(engine: Embedder = engine, texts: list[str] = texts) -> int:
                    before = engine.batches.tokens
                    engine.grid(texts, PROMPTS, ["mean", "last"])
                    return engine.batches.tokens - before

                found = bench.measure(work)
                flops = 2 * weights * found["tokens_per_second"]
                share = round(flops / peak, 4) if peak else None
                bench.note({
                    **row, **found, "text_count": len(texts), "precision": in_words(engine.backbone.precision),
                    "share_of_peak": share, "tokens_a_batch": engine.batches.budget.tokens,
                })  # fmt: skip
            del engine


def training(bench: Bench) -> None:
    """Tokens a second and memory of whole steps of the paper's recipe, the first step aside, packed and padded."""
    ways = ((8, 2, True), (8, 2, False)) if bench.toy else ((120, 12, True), (120, 12, False), (1024, 4, True))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pairs = pairs_of(docstrings(bench.toy), folder / "pairs.parquet")
        for model in SHAPES:
            path = build_model(bench.models, model, bench.toy)
            for batch, steps, packs in ways:
                row = {"model": model, "batch": batch, "texts": "in a row" if packs else "padded"}
                if bench.fits(**row):
                    out = folder / f"{model}-{batch}-{packs}"
                    bench.note({**row, **steps_of(bench, path, pairs, out, batch, steps, packs)})


def steps_of(bench: Bench, model: Path, pairs: Path, out: Path, batch: int, steps: int, packs: bool) -> dict:
    """One training, and what its log says of the steps after the first. Raises if it packed, or not, unasked."""
    from promptpool.training import packed  # seconds to import, which no other part needs
    from promptpool.training.rank import train_rank

    started = time.monotonic()
    bench.empty()
    spec = {**RECIPE, "steps": [steps], "max_steps": steps, "batch_size": batch}
    place = "cuda" if bench.device.type == "cuda" else "cpu"
    with mock.patch.object(packed, "PACKS_ON", {place: packs}):
        train_rank(
            [str(pairs)], str(out), model=str(model), revision=None, spec=spec, template=PROMPTS["cluster"],
            scratch=str(out.with_name(out.name + ".scratch")), device=place,
            execution={"tracking": {"tensorboard": False, "wandb": None}},
        )  # fmt: skip
    did = json.loads(sidecar_path(out).read_text(encoding="utf-8"))["packed"]
    if did != packs:
        raise RuntimeError(f"{model.name}: its texts were {'in a row' if did else 'padded'}")
    bench.longest = max(bench.longest, time.monotonic() - started)
    log = pd.read_parquet(out / "training.parquet").iloc[1:]
    tokens = (log["tokens_per_second"] * log["seconds"]).sum()
    return {
        "steps": len(log), "tokens": round(tokens), "seconds": round(log["seconds"].sum(), 3),
        "tokens_per_second": round(tokens / log["seconds"].sum(), 1),
        "seconds_a_step": round(log["seconds"].median(), 3), "memory_gib": bench.memory(),
    }  # fmt: skip


def synthesis(bench: Bench) -> None:
    """New tokens a second of the backends: `transformers`, and `vllm` where `make vllm` has built it."""
    texts = texts_of(docstrings(bench.toy), "short")[: 8 if bench.toy else 256]
    sampling = {**SAMPLING, **({"max_new_tokens": 4} if bench.toy else {})}
    requests = [Request(f"{text}\n\n", False, seed) for seed, text in enumerate(texts)]
    backends: list[tuple[str, dict]] = [("transformers", {"batch_size": 64}), ("transformers", {"batch_size": 256})]
    if (ROOT / ".vllm/bin/python").exists() and not bench.toy:
        backends.append(("vllm", VLLM))
    else:
        bench.note({"backend": "vllm", "cut": "at toy sizes it is not started" if bench.toy else "there is no .vllm"})
    for model in SHAPES:
        path = str(build_model(bench.models, model, bench.toy))
        for kind, options in backends:
            row = {"model": model, "backend": kind, "batch_size": options.get("batch_size")}
            if not bench.fits(**row):
                continue
            started = time.monotonic()
            place = "cuda" if bench.device.type == "cuda" else "cpu"
            with open_backend(
                kind, WriterSetup(path, None, sampling, options, device=place, needs_chat=False)
            ) as backend:
                opening = time.monotonic() - started
                found = bench.measure(lambda backend=backend: sum(one.tokens for one in backend.write(requests)))
            bench.longest = max(bench.longest, time.monotonic() - started)
            if kind == "vllm":
                found["memory_gib"] = None  # its worker's, which this process does not see
            bench.note({**row, **found, "requests": len(requests), "seconds_to_open": round(opening, 1)})


def tests(bench: Bench) -> None:
    """tests/gpu: how many passed, failed and were skipped, and which failed."""
    with tempfile.TemporaryDirectory() as temporary:
        report = Path(temporary, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gpu", f"--junitxml={report}"]
        if bench.pretended:
            command += ["-p", "pretended_gpu.plugin"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if not report.exists():
            raise RuntimeError(f"pytest wrote no report: {(done.stdout + done.stderr)[-500:]}")
        bench.note(outcomes(report.read_text(encoding="utf-8")))


def outcomes(report: str) -> dict:
    """Counts from a JUnit report of pytest, and the failed tests by name."""
    cases = list(ElementTree.fromstring(report).iter("testcase"))
    failed = [case.get("name") for case in cases if {child.tag for child in case} & {"failure", "error"}]
    skipped = sum(any(child.tag == "skipped" for child in case) for case in cases)
    return {"passed": len(cases) - len(failed) - skipped, "failed": failed, "skipped": skipped}


def demo(bench: Bench) -> None:
    """The demo's study in a folder of its own, on this device, and its headline scores beside the CPU's of the docs."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "workflow").symlink_to(ROOT / "workflow")
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--workflow-profile",
                   str(ROOT / "workflow/profiles/demo"), "--config", f"device={bench.device.type}"]  # fmt: skip
        if bench.toy:
            command[-1] = "device=auto"  # Snakemake's own process does not know a pretended device
            command += ["--dry-run", "--quiet", "all"]
        started = time.monotonic()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        seconds = round(time.monotonic() - started, 1)
        if done.returncode:
            raise RuntimeError(f"the demo ended with {done.returncode}: {(done.stdout + done.stderr)[-800:]}")
        if bench.toy:
            bench.note({"seconds": seconds, "cut": "at toy sizes its jobs are counted and not run"})
            return
        summary = pd.read_parquet(folder / "results/demo/summary.parquet")
    page = (ROOT / "docs/explanation/measured/demo.md").read_text(encoding="utf-8")
    for row in against_docs(summary, page):
        bench.note({**row, "seconds": seconds})


def against_docs(summary: pd.DataFrame, page: str) -> list[dict]:
    """The demo's headline, V-measure x 100: `here`, and `cpu`, what docs/explanation/measured/demo.md says of a CPU."""
    told = dict(re.findall(r"^\| ([^|]+?) \| ([+-]?\d+\.\d+) \|", page, flags=re.M))
    rows = summary[summary["task"] == "mean"]
    return [
        {"row": row.row, "here": round(100 * row.score, 1), "cpu": float(told[row.row])}
        for row in rows.itertuples()
        if row.row in told
    ]


PARTS: dict[str, Callable[[Bench], None]] = {
    part.__name__: part for part in (tests, embedding, training, synthesis, demo)
}


def machine(device: torch.device) -> dict:
    """What ran: the device's name and memory, torch and its CUDA."""
    facts = {"torch": torch.__version__, "cuda": torch.version.cuda, "device": device.type}
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        facts |= {"name": torch.cuda.get_device_name(device), "memory_gib": round(memory / 2**30, 1)}
    return facts


def run_part(part: str, device: str, toy: bool, models: Path, seconds: float, out: Path) -> None:
    """One part, in this process. out: a JSON file that always holds what is measured so far."""
    end, rows = time.monotonic() + seconds, []
    if device == "pretended":
        from pretended_gpu.device import pretended_gpu

        around, place = pretended_gpu(), torch.device("cuda:0")
    else:
        around, place = nullcontext(), torch.device(device)
    with around:
        facts = machine(place)

        def note(row: dict) -> None:
            print(f"{part}: {json.dumps(row)}", flush=True)
            rows.append(row)
            out.write_text(json.dumps({"machine": facts, "rows": rows}) + "\n", encoding="utf-8")

        PARTS[part](Bench(place, toy, models, end, note, device == "pretended"))
