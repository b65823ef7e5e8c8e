"""Where a training's curves can be seen beside its table: TensorBoard's files, Trackio or Weights & Biases."""

import contextlib
import importlib
import importlib.util
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path

from transformers import TrainerCallback

from ..artifacts.files import remove
from ..errors import PromptpoolError
from .tracking import PREFIX, TRAINING_COLUMNS

SERVICES = ("trackio", "wandb")  # packages with one interface: init(project, name, config), log(values, step), finish()
FINISH_SECONDS = "60"  # how long W&B may send what is left; its own default is for ever


def require_services(tracking: Mapping, where: str) -> None:
    """Raises PromptpoolError if `tracking` names a project of one of SERVICES whose package is not installed."""
    for package in services(tracking):
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:  # a folder of that name, such as the one W&B writes
            raise PromptpoolError(
                f"{where}: tracking.{package}: the package {package} is not installed; pip install {package}, "
                "or write null"
            )


def services(tracking: Mapping) -> list[str]:
    return [package for package in SERVICES if tracking.get(package) is not None]


def curves_of(tracking: Mapping, folder: Path, where: str, recipe: Mapping) -> list[TrainerCallback]:
    """What `tracking` asks for: {"tensorboard": bool} and a project or None for each of SERVICES.

    folder: gets tensorboard/. where: the adapter's directory, whose name is the run's. recipe: what a service shows of
    the run.
    """
    kinds: list[TrainerCallback] = [TensorBoard(folder / "tensorboard")] if tracking["tensorboard"] else []
    return kinds + [Service(package, tracking[package], where, recipe) for package in services(tracking)]


class Curves(TrainerCallback, ABC):
    """The interface: `open` before the first step, `write` for each logged row, `close` at the end.

    Only the first rank writes. A resumed training opens them again, and first writes the rows up to where it resumes.
    """

    opened = False

    @abstractmethod
    def open(self) -> None: ...

    @abstractmethod
    def write(self, step: int, values: Mapping[str, float]) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    def guarded(self) -> contextlib.AbstractContextManager:
        """Surrounds every call of the three above."""
        return contextlib.nullcontext()

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        if state.is_world_process_zero:
            with self.guarded():
                self.open()
                self.opened = True
                for entry in state.log_history:
                    self._write(entry)

    def on_log(self, args, state, control, **kwargs) -> None:
        if self.opened:
            with self.guarded():
                self._write(state.log_history[-1])

    def on_train_end(self, args, state, control, **kwargs) -> None:
        if self.opened:
            with self.guarded():
                self.close()

    def _write(self, entry: Mapping) -> None:
        if values := tagged(entry):
            self.write(entry["step"], values)


def tagged(entry: Mapping) -> dict[str, float]:
    """The figures of a row of the trainer's log by tag: train/<column>, or validation/<column>."""
    values = {}
    for name, value in entry.items():
        if name.startswith(PREFIX):
            values[f"validation/{name.removeprefix(PREFIX)}"] = value
        elif name in TRAINING_COLUMNS[1:]:
            values[f"train/{name}"] = value
    return values


class TensorBoard(Curves):
    """One event file with all steps' scalars. After a kill it is rewritten, up to where training resumes.

    It is written without the library's thread, which would wait for ever if the disk is full.
    """

    FLUSH_SECONDS = 10

    def __init__(self, folder: Path):
        self.folder, self.writer, self.flushed = folder, None, 0.0

    def open(self) -> None:
        from tensorboardX.event_file_writer import EventsWriter

        remove(self.folder)
        self.folder.mkdir(parents=True)
        self.writer = EventsWriter(str(self.folder / "events"))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        for tag, value in values.items():
            self.writer.write_event(Event(wall_time=time.time(), step=step, summary=scalar(tag, value)))
        if time.monotonic() - self.flushed > self.FLUSH_SECONDS:
            self.writer.flush()
            self.flushed = time.monotonic()

    def close(self) -> None:
        self.writer.close()


class Service(Curves):
    """A run of Trackio or W&B. Whatever fails there costs the run its curves, with one warning, and no training."""

    def __init__(self, package: str, project: str, where: str, recipe: Mapping):
        self.package, self.project, self.where, self.recipe = package, project, where, dict(recipe)
        self.library = None

    def open(self) -> None:
        os.environ.setdefault("WANDB_FINISH_TIMEOUT", FINISH_SECONDS)  # read when W&B starts; Trackio has its own
        self.library = importlib.import_module(self.package)
        self.library.init(project=self.project, name=Path(self.where).name, config=self.recipe)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.library.log(dict(values), step=step)

    def close(self) -> None:
        self.library.finish()

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of any kind: the library's, the network's, the disk's
            self.opened = False
            reason = (str(error).splitlines() or [""])[0] or type(error).__name__
            print(
                f"Warning: {self.where}: tracking.{self.package}: {reason}; training goes on without its curves",
                file=sys.stderr,
            )
