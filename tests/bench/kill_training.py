"""kill -9 at random moments of a training, and the adapters that going on ends with: all equal, or not.

Each of --kills trainings is killed at a moment drawn evenly over the whole run, from the import to the last rename,
and started again, with a kill drawn anew each time (at most --deaths of them), until one start ends by itself.

    PYTHONPATH=workflow:tests python tests/bench/kill_training.py --kills 10
"""

import argparse
import json
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from promptpool.artifacts import file_digest
from tiny_training import CHILD, ENVIRONMENT, PYTHON, base_model, call, write_pairs

RECIPE = {"max_steps": None, "epochs": 10, "steps": [5, 30, 60], "validation": 0.1}


def start(arguments: dict) -> subprocess.Popen:
    return subprocess.Popen(
        [PYTHON, "-c", CHILD, json.dumps(arguments)], env=ENVIRONMENT, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def adapters(out: Path) -> dict[str, str]:
    """Digest of every file that depends on the training alone."""
    paths = [*out.glob("step-*/*"), out / "best_step.json", out / "validation.parquet"]
    return {str(path.relative_to(out)): file_digest(path) for path in paths}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--deaths", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model, pairs = base_model(folder), write_pairs(folder / "pairs.parquet", 20)
        began = time.monotonic()
        assert start(call(model, pairs, folder / "whole", **RECIPE)).wait() == 0
        seconds = time.monotonic() - began
        wanted, equal, dead = adapters(folder / "whole"), 0, 0
        for number in range(options.kills):
            out, told = folder / f"killed-{number}", []
            for life in range(options.deaths + 1):
                child = start(call(model, pairs, out, **RECIPE))
                try:
                    # The first kill is sure to come before the end.
                    limit = draw.uniform(0.05, 0.95 if life == 0 else 1.2) * seconds
                    child.wait(timeout=None if life == options.deaths else limit)
                    break
                except subprocess.TimeoutExpired:
                    child.send_signal(signal.SIGKILL)
                    child.wait()
                    saved = [int(p.name.split("-")[1]) for p in folder.glob(f"{out.name}.scratch/*/trainer/check*")]
                    told.append(f"{limit:.1f} s (state of step {max(saved, default=0)})")
                    dead += 1
            leftovers = [p.name for p in folder.iterdir() if p.name.startswith((".", f"{out.name}.scratch"))]
            same = adapters(out) == wanted and not leftovers
            equal += same
            print(
                f"{number}: killed at {', '.join(told) or 'no moment'}: {'equal' if same else 'DIFFERENT'}", flush=True
            )
        print(f"{dead} kills in {options.kills} trainings of {seconds:.1f} s: {equal} equal to the unkilled one")


if __name__ == "__main__":
    main()
