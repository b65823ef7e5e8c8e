"""How what others made is loaded: weights from safetensors alone, and none of a repository's own code.

Left to itself, transformers asks at the terminal whether to run such code, and takes pickles for want of others.
"""

from pathlib import Path

from ..errors import PromptpoolError
from .snapshots import snapshot_folder

NO_CODE = {"trust_remote_code": False}
SAFE = {**NO_CODE, "use_safetensors": True}
PICKLE = "pytorch_model.bin"


def require_safetensors(path: str, revision: str | None, where: str) -> None:
    """Raises PromptpoolError for a sentence-transformers model of which some module has its weights in a pickle alone.

    Its own loader would read that for want of another. path: directory, or id of a model that is in the hub's cache;
    revision: then the commit.
    """
    pin = {"repo": path, "repo_type": "model", "commit": revision or ""}
    folder = Path(path) if Path(path).is_dir() else snapshot_folder(pin)
    for pickle in sorted(folder.rglob(PICKLE)):
        if not any(pickle.parent.glob("*.safetensors")):
            raise PromptpoolError(
                f"{where}: {path}: {pickle.relative_to(folder)} is a pickle, and only safetensors are read; name a "
                "revision that has them, or save the model anew with sentence-transformers and name that folder"
            )
