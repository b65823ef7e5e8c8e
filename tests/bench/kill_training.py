"""kill -9 at random moments of a training, and the adapters that going on ends with: all equal, or not.

Each of --kills trainings is killed at a moment drawn evenly over the whole run, from the import to the last rename,
and started again, with a kill drawn anew each time (at most --deaths of them), until one start ends by itself. The
adapters' weights and configs, the validation table and the best step must be the unkilled training's, byte for byte,
and nothing may be left beside them.

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

from promptpool.artifacts.files import file_digest
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
        wanted, equal, dead, killed, number = adapters(folder / "whole"), 0, 0, 0, 0
        while killed < options.kills:
            out, told, number = folder / f"killed-{number}", [], number + 1
            for life in range(options.deaths + 1):
                began = time.monotonic()
                child = start(call(model, pairs, out, **RECIPE))
                try:
                    limit = draw.uniform(0.05, 1) * seconds
                    child.wait(timeout=None if life == options.deaths else limit)
                    seconds = min(seconds, time.monotonic() - began) if not life else seconds
                    break
                except subprocess.TimeoutExpired:
                    child.send_signal(signal.SIGKILL)
                    child.wait()
                    saved = [int(p.name.split("-")[1]) for p in folder.glob(f"{out.name}.scratch/*/trainer/check*")]
                    told.append(f"{limit:.1f} s (state of step {max(saved, default=0)})")
            if not told:
                continue  # it ended before its kill came
            leftovers = [p.name for p in folder.iterdir() if p.name.startswith((".", f"{out.name}.scratch"))]
            found = adapters(out)
            wrong = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)] + leftovers
            killed, dead, equal = killed + 1, dead + len(told), equal + (not wrong)
            print(f"{', '.join(told)}: {f'DIFFERENT: {wrong}' if wrong else 'equal'}", flush=True)
        print(f"{dead} kills in {killed} trainings of {seconds:.0f} s or more: {equal} end equal to the unkilled one")


if __name__ == "__main__":
    main()
