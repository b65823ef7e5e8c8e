"""A text's vectors: from an exported model, or from a file that has them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import PromptpoolError

KINDS = (".npy", ".safetensors")


def vectors_of(export: str, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
    """float [n, dim], a row for each text.

    export: a sentence-transformers directory, which embeds each text once; a .npy with a matrix; or a .safetensors with
    one. Raises PromptpoolError for another path, and for vectors of another number of texts.
    """
    place = Path(export).expanduser()
    if place.is_dir():
        return embedded_by(str(place), texts, batch_size)
    if not place.is_file() or place.suffix not in KINDS:
        raise PromptpoolError(
            f"{export}: neither an exported model's directory nor vectors ({', '.join(KINDS)}); fix the path"
        )
    found = read_matrix(place)
    if len(found) != len(texts):
        raise PromptpoolError(
            f"{export}: {len(found)} vectors for {len(texts)} texts; give the file they were made from"
        )
    return found


def embedded_by(folder: str, texts: Sequence[str], batch_size: int) -> np.ndarray:
    """By plain sentence-transformers, as any user of an export would. Equal texts are embedded once."""
    from sentence_transformers import SentenceTransformer

    if not (Path(folder) / "modules.json").is_file():
        raise PromptpoolError(f"{folder}: no sentence-transformers model (no modules.json); name an export's directory")
    unique = list(dict.fromkeys(texts))
    matrix = SentenceTransformer(folder).encode(unique, batch_size=batch_size, show_progress_bar=len(unique) > 500)
    place = {text: row for row, text in enumerate(unique)}
    return np.asarray(matrix, dtype=np.float32)[[place[text] for text in texts]]


def read_matrix(path: Path) -> np.ndarray:
    """The only matrix of a file, read without running code. Raises PromptpoolError if there is none, or several."""
    if path.suffix == ".npy":
        try:
            matrix = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise PromptpoolError(f"{path}: cannot be read as a matrix: {str(error).splitlines()[0]}") from None
        names = ["matrix"] if matrix.ndim == 2 else []
    else:
        from safetensors.numpy import load_file

        held = {name: value for name, value in load_file(path).items() if value.ndim == 2}
        names, matrix = list(held), next(iter(held.values()), None)
    if len(names) != 1:
        listed = f": {', '.join(names[:6])}" if names else ""
        raise PromptpoolError(f"{path}: holds {len(names)} matrices{listed}; save the one to use as .npy")
    return matrix
