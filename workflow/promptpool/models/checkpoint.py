"""What every stage that runs a model loads."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Checkpoint:
    """A base model, the adapter on it, the number type and the device.

    model: directory or hub id; revision: a commit, None for a directory; adapter: a directory of LoRA weights, None for
    none; dtype: see precision.inference_precision; device: `auto`, `cpu`, `cuda`, `cuda:1`...; causal: false where
    its causal mask is removed.
    """

    model: str
    revision: str | None = None
    adapter: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    causal: bool = True

    @property
    def files(self) -> list[str]:
        """Its local parts, as a sidecar lists them among the inputs."""
        return [str(path) for path in (self.model, self.adapter) if path and Path(path).exists()]

    @property
    def weights(self) -> dict:
        """What determines the numbers, except the device: for a sidecar's `spec`."""
        known = {"model": self.model, "revision": self.revision, "adapter": self.adapter, "dtype": self.dtype}
        return known if self.causal else {**known, "causal": False}
