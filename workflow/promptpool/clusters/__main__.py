"""Groups the texts of a file by an exported model's vectors, and shows them in one HTML file.

python -m promptpool.clusters results/demo/models/docs-cluster texts.csv
python -m promptpool.clusters vectors.npy texts.csv --column body --clusters 8
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..artifacts.files import atomic_path
from ..data.tables import read_table
from ..errors import PromptpoolError
from .find_clusters import MOST_CLUSTERS, find_clusters
from .page import write_page
from .stored_vectors import vectors_of


def describe(
    export: str, file: str, out: str, *, column: str = "text", k: int | None = None, most: int = MOST_CLUSTERS,
    batch_size: int = 64, seed: int = 0,
) -> str:  # fmt: skip
    """Writes the page to `out`, and beside it a csv of each text's cluster. Returns what to say of it.

    export: a sentence-transformers directory, or stored vectors (`stored_vectors`), a row for each row of the file
    that has a text. file: parquet, csv, tsv or jsonl, with its texts in `column`. k: how many clusters; None takes the
    number from 2 to `most` that is stable.
    """
    cells = read_table(file, [column], "texts")[column]
    texts = [str(cell) for cell in cells if cell is not None and str(cell).strip()]
    found = find_clusters(texts, vectors_of(export, texts, batch_size), k, most, seed)
    write_page(out, found, texts, title=Path(file).name, source=Path(export).name)
    table = str(Path(out).with_suffix(".csv"))
    with atomic_path(table) as temporary:
        found.table(texts).to_csv(temporary, index=False)
    sizes = [f"{size:7,}  {name}" for size, name in zip(found.sizes, found.names, strict=True)]
    return "\n".join(
        [f"{len(sizes)} clusters of {len(texts):,} texts:", *sizes, f"Look at {out}; {table} has each text's."]
    )


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m promptpool.clusters", description=__doc__.splitlines()[0])
    parser.add_argument("export", help="an exported model's directory, or vectors: .npy or .safetensors")
    parser.add_argument("file", help="the texts: .csv, .tsv, .jsonl or .parquet")
    parser.add_argument("--column", default="text", help="the column of texts (default: text)")
    parser.add_argument("--out", default="clusters.html", help="where the page goes (default: clusters.html)")
    parser.add_argument("--clusters", type=int, help="how many clusters (default: as many as are stable)")
    parser.add_argument(
        "--most", type=int, default=MOST_CLUSTERS, help=f"the most that are tried (default: {MOST_CLUSTERS})"
    )
    parser.add_argument("--batch-size", type=int, default=64, help="texts that are embedded at once (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples and of k-means (default: 0)")
    given = parser.parse_args(arguments)
    try:
        print(describe(given.export, given.file, given.out, column=given.column, k=given.clusters, most=given.most,
                       batch_size=given.batch_size, seed=given.seed))  # fmt: skip
    except PromptpoolError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
