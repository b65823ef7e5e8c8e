"""The adapters stage: trains in this process, or in one process per GPU with `accelerate launch`.

Those processes enter through this module too.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..artifacts.files import remove, write_json
from ..errors import PromptpoolError
from ..runtime.installation import with_package

FAULT = "fault.txt"


def train_adapter(
    pairs: Sequence[str], out: str, *, gpus: int = 1, device: str = "auto", scratch: str, **rest: object
) -> None:
    """Calls `rank.train_rank` with the same arguments, on `gpus` GPUs; on a CPU, in one process."""
    from ..models.backbone import pick_device

    call = {"pairs": list(pairs), "out": out, "device": device, "scratch": scratch, **rest}
    if gpus > 1 and pick_device(device).type == "cuda":
        import torch

        there = torch.cuda.device_count()
        if there < gpus:
            raise PromptpoolError(f"{out}: gpus: {gpus} are asked for and {there} can be seen; lower gpus")
        return launch(call, gpus)
    from .rank import train_rank

    return train_rank(**call)


def launch(call: Mapping, ranks: int) -> None:
    """Runs the call in `ranks` processes, each with its own device, and waits for them."""
    folder = Path(call["scratch"])
    write_json(folder / "call.json", call)
    remove(folder / FAULT)
    # Every value is given, so that a user's own accelerate configuration changes nothing.
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(ranks),
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
        "-m", "promptpool.training.train_adapter", str(folder / "call.json"),
    ]  # fmt: skip
    done = subprocess.run(command, env=with_package(os.environ), check=False)
    if done.returncode:
        fault = folder / FAULT
        reason = fault.read_text(encoding="utf-8") if fault.exists() else f"a rank ended with code {done.returncode}"
        raise PromptpoolError(reason if fault.exists() else f"{call['out']}: {reason}; its log has the reason")


def main(path: str) -> None:
    """One rank's work. A fault that the user can fix is written to a file, and the waiting process reports it."""
    call = json.loads(Path(path).read_text(encoding="utf-8"))
    from .rank import train_rank

    try:
        train_rank(**call)
    except PromptpoolError as error:
        Path(call["scratch"]).mkdir(parents=True, exist_ok=True)
        (Path(call["scratch"]) / FAULT).write_text(str(error), encoding="utf-8")
        raise SystemExit(1) from None
    finally:
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
