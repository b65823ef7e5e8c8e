"""The statistics stage: what post-processings need of one checkpoint, fitted once for each prompt and readout."""

import time
from collections.abc import Sequence
from pathlib import Path

from ..artifacts.files import sidecar_path, write_sidecar
from ..artifacts.integrity import read_sealed
from ..artifacts.parts import digest_of_part, is_kept, listed_files, write_manifest
from ..embedding.post_processing import fit, write_statistics
from ..embedding.vector_file import read_vectors
from ..variants import FITTING, Layer, key_text


def fit_statistics(out: str, vectors: str, readouts: Sequence[tuple[str, Layer]], *, code: str = "") -> None:
    """Writes {family}.safetensors beside `out` for each family of prompts and each ensemble, and at `out` the manifest.

    vectors: the manifest that lists the fitting texts' vectors. readouts: the (pooling, layer) pairs to fit. A file
    that still depends on the same is kept.
    """
    started = time.time()
    wanted = {(pooling, layer) for pooling, layer in readouts}
    spec = {"readouts": sorted(map(list, wanted), key=repr)}
    paths, computed = [], []
    for file in listed_files([vectors], ".safetensors", [FITTING]):
        begun = time.time()
        digest = (read_sealed(sidecar_path(file)) or {})["digest"]  # listed_files has verified it
        path = str(Path(out).parent / Path(file).name)
        made_of = digest_of_part(vectors=digest, **spec, code=code)
        paths.append(path)
        if is_kept(path, made_of):
            continue
        stored = read_vectors(file)
        known = {key: fit(stored[key]) for key in stored if key[1:] in wanted}
        write_statistics(path, known)
        texts = next((one.texts for one in known.values()), 0)
        write_sidecar(path, inputs=[file], started=begun, made_of=made_of, manifest=out, texts=texts,
                      variants=[key_text(key) for key in known])  # fmt: skip
        computed.append(path)
    write_manifest(out, paths, computed=computed, inputs=[vectors], spec=spec, started=started)
