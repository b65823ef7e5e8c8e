"""Loads what others have made safely: weights only from safetensors, and no code of a repository.

By default, transformers asks at the terminal whether to run such code, and loads pickles if there is nothing else.
"""

from pathlib import Path

from ..errors import PromptpoolError
from .snapshots import snapshot_folder

NO_CODE = {"trust_remote_code": False}
SAFE = {**NO_CODE, "use_safetensors": True}
PICKLE = "pytorch_model.bin"


def require_safetensors(path: str, revision: str | None, where: str) -> None:
    """Raises PromptpoolError if a module of a sentence-transformers model has its weights only in a pickle.

    Its own loader would read that pickle. path: a directory, or the id of a model in the hub's cache; revision: the
    commit of the latter.
    """
    pin = {"repo": path, "repo_type": "model", "commit": revision or ""}
    folder = Path(path) if Path(path).is_dir() else snapshot_folder(pin)
    for pickle in sorted(folder.rglob(PICKLE)):
        if not any(pickle.parent.glob("*.safetensors")):
            raise PromptpoolError(
                f"{where}: {path}: {pickle.relative_to(folder)} is a pickle, and only safetensors are read; name a "
                "revision that has them, or save the model with sentence-transformers again and name that folder"
            )
