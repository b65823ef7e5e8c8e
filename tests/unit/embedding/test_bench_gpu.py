"""`make bench-gpu` runs, at toy sizes on the pretended GPU. What does not fit its time is cut, and the page says so."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import AutoModel

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "tests/bench"))
import bench_gpu  # noqa: E402
import gpu_parts  # noqa: E402
from gpu_models import SHAPES, config_of, multiplied, peak_flops  # noqa: E402

spec = importlib.util.spec_from_file_location("refresh", ROOT / "docs/refresh.py")
refresh = importlib.util.module_from_spec(spec)
spec.loader.exec_module(refresh)
SPEEDS = ("embedding", "training", "synthesis")


def ran(where: Path, environment: dict | None, *arguments: str) -> dict:
    """The JSON of a toy run."""
    command = [sys.executable, str(ROOT / "tests/bench/bench_gpu.py"), "--toy", "--json", str(where), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    return json.loads(where.read_text())


def test_it_runs_on_the_pretended_gpu(pretended, tmp_path):
    found = ran(tmp_path / "toy.json", pretended, "--device", "pretended", "--parts", *SPEEDS)
    assert found["machine"]["name"] == "pretended" and found["toy"]
    rows = {part: [row for row in found["parts"][part]["rows"] if "cut" not in row] for part in SPEEDS}
    assert {(row["model"], row["dtype"], row["texts"]) for row in rows["embedding"]} == {
        (model, dtype, texts) for model in SHAPES for dtype in ("auto", "bfloat16") for texts in ("short", "long")
    }
    ways = ("in a row", "padded")
    assert [(row["model"], row["texts"]) for row in rows["training"]] == [
        (model, way) for model in SHAPES for way in ways
    ]
    assert {row["backend"] for row in rows["synthesis"]} == {"transformers"}
    assert all(row["tokens_per_second"] > 0 and row["memory_gib"] > 0 for part in SPEEDS for row in rows[part])


def test_a_part_beyond_its_time_is_cut_and_the_others_go_on(tmp_path):
    found = bench_gpu.run_all(["embedding"], "cpu", True, tmp_path, {"embedding": 1})
    assert found["parts"]["embedding"]["fault"] == "cut after 1 s, its share of the time"


def test_a_part_that_breaks_says_how(tmp_path):
    found = bench_gpu.run_one("embedding", "cpu:nonsense", True, tmp_path, 60)
    assert found["fault"].startswith("ended with 2: ") and "cpu:nonsense" in found["fault"]


def test_the_parts_take_25_minutes_at_most():
    assert sum(bench_gpu.BUDGETS.values()) <= 25 * 60 and list(bench_gpu.BUDGETS) == list(gpu_parts.PARTS)


def test_a_measurement_that_does_not_fit_is_left_out_and_named(tmp_path):
    rows: list[dict] = []
    bench = gpu_parts.Bench(torch.device("cpu"), True, tmp_path, float("inf"), rows.append)
    assert bench.measure(lambda: 7)["tokens"] == 7 and bench.fits(model="a")
    bench.longest, bench.end = 50.0, 0.0
    assert not bench.fits(model="a") and rows == [{"model": "a", "cut": "0 s were left, and one takes 50 s"}]


@pytest.mark.parametrize(("model", "millions"), [("Qwen3-0.6B", 596), ("Llama-3.2-1B", 1236)])
def test_the_shapes_are_those_of_the_cards(model, millions):
    with torch.device("meta"):
        made = AutoModel.from_config(config_of(model))
    assert sum(weight.numel() for weight in made.parameters()) / 1e6 == pytest.approx(millions, rel=0.002)
    assert multiplied(made) < sum(weight.numel() for weight in made.parameters())


@pytest.mark.parametrize(
    ("name", "tera"),
    [("NVIDIA H100 80GB HBM3", 989), ("NVIDIA A100-SXM4-80GB", 312), ("NVIDIA L4", 121), ("L40S", None)],
)
def test_a_gpu_s_peak_is_that_of_its_data_sheet(name, tera):
    assert peak_flops(name) == (tera and tera * 1e12)


def test_the_demo_is_compared_with_what_the_docs_say():
    summary = pd.DataFrame(
        {"row": ["best tuned", "best tuned - random", "other"], "task": "mean", "score": [0.471, 0.26, 0.1]}
    )
    found = gpu_parts.against_docs(summary, "| best tuned | 46.4 | x |\n| best tuned - random | +25.9 | x |\n")
    assert found == [
        {"row": "best tuned", "here": 47.1, "cpu": 46.4}, {"row": "best tuned - random", "here": 26.0, "cpu": 25.9}
    ]  # fmt: skip
    page = (ROOT / "docs/explanation/measured/demo.md").read_text(encoding="utf-8")
    assert len(gpu_parts.against_docs(summary, page)) == 2


def test_failed_tests_are_named():
    report = (
        '<t><testcase name="a"/><testcase name="b"><failure/></testcase><testcase name="c"><skipped/></testcase></t>'
    )
    assert gpu_parts.outcomes(report) == {"passed": 1, "failed": ["b"], "skipped": 1}


# --- the page ---------------------------------------------------------------------------------------


def result(**changes: object) -> dict:
    row = {"model": "Qwen3-0.6B", "texts": "short", "precision": "bfloat16", "tokens_per_second": 208_000.4,
           "share_of_peak": 0.1934, "memory_gib": 20.04}  # fmt: skip
    cut = {"model": "Llama-3.2-1B", "cut": "1 s were left"}
    parts = {
        "tests": {"rows": [{"passed": 11, "failed": [], "skipped": 1}], "seconds": 90},
        "embedding": {"rows": [row, {**row, "share_of_peak": None}, cut], "seconds": 9},
        "demo": {"rows": [], "seconds": 480, "fault": "cut after 480 s, its share of the time"},
    }  # fmt: skip
    machine = {"name": "NVIDIA H100 80GB HBM3", "torch": "2.13.0", "device": "cuda"}
    return {"toy": False, "date": "2026-11-25", "seconds": 1200.0, "machine": machine, "parts": parts, **changes}


def test_the_page_shows_what_was_measured_cut_and_broken(tmp_path):
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps(result()))
    page = refresh.gpu_section(path)
    assert "| Qwen3-0.6B | short | bfloat16 | 208,000 | 19.3% | 20.0 |" in page
    assert "| Qwen3-0.6B | short | bfloat16 | 208,000 | - | 20.0 |" in page
    assert "Not measured: Llama-3.2-1B: 1 s were left." in page
    assert "This part did not end as planned: cut after 480 s, its share of the time." in page
    assert "| 11 | none | 1 |" in page and "NVIDIA H100 80GB HBM3, torch 2.13.0, 2026-11-25; 20 minutes in all." in page


def test_the_page_takes_no_toy_numbers(tmp_path):
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps(result(toy=True)))
    with pytest.raises(SystemExit, match="written with --toy"):
        refresh.gpu_section(path)


def test_the_page_holds_what_the_file_says():
    page = (ROOT / "docs/explanation/measured/embedding.md").read_text(encoding="utf-8")
    assert f"<!-- gpu -->\n{refresh.gpu_section()}\n<!-- /gpu -->" in page


def test_toy_numbers_never_go_where_real_ones_are():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/bench/bench_gpu.py"), "--toy", "--device", "cpu"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "--toy needs --json FILE" in done.stderr
