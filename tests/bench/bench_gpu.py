"""Everything worth knowing of a GPU, in one command and under 25 minutes on an H100: `make bench-gpu`.

    python tests/bench/bench_gpu.py                                  # all parts, into docs/gpu.json
    python tests/bench/bench_gpu.py --parts embedding training       # some of them
    python tests/bench/bench_gpu.py --device cpu --toy --json x.json # only to see that it runs: its numbers say nothing

Parts: tests/gpu; tokens a second of embedding, training and synthesis with random models of Qwen3-0.6B's and
Llama-3.2-1B's shape; the demo end to end, its scores beside the CPU's. Each part runs in a process of its own, so that
a crash or a lack of memory ends that part alone. BUDGETS holds each part's seconds; a part may also use what
those before it left, and is cut where its time is over. What was cut, and what went wrong, stands in the JSON.
`docs/refresh.py --gpu` puts the JSON into docs/explanation/measured/embedding.md.
"""

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BUDGETS = {"tests": 200, "embedding": 360, "training": 280, "synthesis": 180, "demo": 480}  # seconds; 25 minutes in all
TAIL = 600  # characters of a failed part's last words


def run_all(parts: list[str], device: str, toy: bool, folder: Path, budgets: dict[str, int] | None = None) -> dict:
    """Every part after the other; the result that goes into the JSON."""
    budgets = budgets or BUDGETS
    result: dict = {"toy": toy, "date": datetime.date.today().isoformat(), "device": device, "machine": {}, "parts": {}}
    started, due = time.monotonic(), 0.0
    for part in parts:
        due += budgets[part]
        found = run_one(part, device, toy, folder, due - (time.monotonic() - started))
        result["machine"] = found.pop("machine") or result["machine"]
        result["parts"][part] = found
        print(f"{part}: {found['seconds']} s{', ' + found['fault'] if 'fault' in found else ''}", flush=True)
    result["seconds"] = round(time.monotonic() - started, 1)
    return result


def run_one(part: str, device: str, toy: bool, folder: Path, seconds: float) -> dict:
    """One part's rows, its seconds, and a `fault` where it was cut or ended badly."""
    out, log = folder / f"{part}.json", folder / f"{part}.log"
    command = [sys.executable, str(HERE / "bench_gpu.py"), "--part", part, "--device", device, "--json", str(out)]
    command += ["--models", str(folder / "models"), "--seconds", str(seconds), *(["--toy"] if toy else [])]
    paths = [str(ROOT / "workflow"), str(ROOT / "tests"), str(HERE), os.environ.get("PYTHONPATH", "")]
    started, fault = time.monotonic(), None
    with log.open("w") as words:
        child = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}, stdout=words,
            stderr=subprocess.STDOUT, start_new_session=True, cwd=ROOT,
        )  # fmt: skip
        try:
            if child.wait(timeout=max(1.0, seconds)):
                fault = f"ended with {child.returncode}: {log.read_text(errors='replace')[-TAIL:].strip()}"
        except subprocess.TimeoutExpired:
            fault = f"cut after {seconds:.0f} s, its share of the time"
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)  # the part, and what it has started
                child.wait()
    found = json.loads(out.read_text()) if out.exists() else {"machine": {}, "rows": []}
    return {**found, "seconds": round(time.monotonic() - started, 1), **({"fault": fault} if fault else {})}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu", "pretended"])
    parser.add_argument("--toy", action="store_true", help="models of width 32 and few texts: does it run at all?")
    parser.add_argument("--parts", nargs="+", default=list(BUDGETS), choices=list(BUDGETS))
    parser.add_argument("--json", type=Path, default=ROOT / "docs/gpu.json")
    parser.add_argument("--models", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--part", choices=list(BUDGETS), help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        if given.device == "pretended":
            import pretended_gpu.device  # noqa: F401  (its guard must be loaded before torch)
        from gpu_parts import run_part

        run_part(given.part, given.device, given.toy, given.models, given.seconds, given.json)
        return
    if given.toy and given.json == parser.get_default("json"):
        parser.error("--toy needs --json FILE: docs/gpu.json is for real numbers")
    if given.device != "pretended" and (missing := no_device(given.device)):
        parser.error(missing)
    with tempfile.TemporaryDirectory() as temporary:
        result = run_all(given.parts, given.device, given.toy, Path(temporary))
    given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{given.json}: {result['seconds']} s in all")
    sys.exit(any("fault" in part for part in result["parts"].values()))


def no_device(device: str) -> str | None:
    """Why this cannot run on the device, or None."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        return "bench-gpu needs a GPU that CUDA sees; to see that it runs without one: --device cpu --toy --json FILE"
    return None


if __name__ == "__main__":
    main()
