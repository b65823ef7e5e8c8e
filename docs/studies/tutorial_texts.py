"""Writes the files of tutorial.yaml: texts.csv to learn from, labelled.csv to be scored on. Or use files of your own.

The texts are docstrings of scipy's functions; a label is the module that a function lives in.
"""

import csv
import importlib
import inspect

MODULES = ("cluster.hierarchy", "fft", "linalg", "ndimage", "optimize", "signal", "sparse", "spatial.distance", "stats")


def main() -> None:
    """Every other function's summary line gets its label; the rest are texts to learn from."""
    seen: set[str] = set()
    with (
        open("texts.csv", "w", newline="", encoding="utf-8") as one,
        open("labelled.csv", "w", newline="", encoding="utf-8") as two,
    ):
        texts, labelled = csv.writer(one), csv.writer(two)
        texts.writerow(["text"])
        labelled.writerow(["text", "label"])
        for name in MODULES:
            module = importlib.import_module(f"scipy.{name}")
            for place, function in enumerate(sorted(module.__all__)):
                paragraphs = (inspect.getdoc(getattr(module, function)) or "").split("\n\n")
                summary = " ".join(paragraphs[0].split())
                if len(summary.split()) < 4 or summary in seen:
                    continue
                seen.add(summary)
                if place % 2:
                    labelled.writerow([summary, name])
                else:
                    texts.writerow([" ".join(" ".join(paragraphs[:3]).split())[:600]])


if __name__ == "__main__":
    main()
