"""What every stage that runs a model is told to load."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Checkpoint:
    """A base model, the adapter on it, in which number type and where.

    model: directory or hub id; revision: a commit, None for a directory; adapter: a directory of LoRA weights, None for
    none; dtype: see precision.inference_precision; device: `auto`, `cpu`, `cuda`, `cuda:1`...
    """

    model: str
    revision: str | None = None
    adapter: str | None = None
    dtype: str = "auto"
    device: str = "auto"

    @property
    def files(self) -> list[str]:
        """The local ones of its parts, as a sidecar lists them among the inputs."""
        return [str(path) for path in (self.model, self.adapter) if path and Path(path).exists()]

    @property
    def weights(self) -> dict:
        """What decides the numbers, the device apart: for a sidecar's `spec`."""
        return {"model": self.model, "revision": self.revision, "adapter": self.adapter, "dtype": self.dtype}
