"""The clusters as one HTML file: a labelled map, each cluster's words and texts, and how k was chosen. No network."""

import colorsys
from pathlib import Path

import jinja2
import numpy as np

from ..artifacts.files import atomic_path
from ..figures.map_labels import LABEL_COLOURS
from ..report.build_report import environment
from ..report.map import LABEL_CHARACTERS
from .find_clusters import Clusters
from .stability import MODERATE

EXAMPLE_CHARACTERS = 400
LABELLED = 12  # clusters with their name on the map
EDGE, LETTER, MARGIN = 1.12, 0.0125, 0.06  # of the map: half its width, half a label's letter, space above and below


def write_page(out: str | Path, found: Clusters, texts: list[str], *, title: str, source: str) -> None:
    """Writes the page. title: its heading; source: where the vectors come from, in words."""
    templates = environment()
    templates.loader = jinja2.ChoiceLoader([jinja2.PackageLoader(__package__), templates.loader])
    html = templates.get_template("clusters.html.j2").render(
        title=title, source=source, clusters=cluster_rows(found), map=map_of(found, texts), count=len(texts),
        mapped=len(found.mapped), stability=stability_rows(found), weak=_weak(found),
    )  # fmt: skip
    with atomic_path(out) as temporary:
        temporary.write_text(html, encoding="utf-8")


def cluster_rows(found: Clusters) -> list[dict]:
    """What the page says of each cluster."""
    total = sum(found.sizes)
    return [
        {
            "number": number + 1,
            "name": name,
            "words": found.words[number],
            "size": found.sizes[number],
            "share": found.sizes[number] / total,
            "colour": colours(len(found.names))[number],
            "examples": [_shortened(text, EXAMPLE_CHARACTERS) for text in found.examples[number]],
        }
        for number, name in enumerate(found.names)
    ]


def map_of(found: Clusters, texts: list[str]) -> dict:
    """Points (x, y, cluster, text), labels (name, x, y: where most of the cluster's points are), and the map's `top`
    and `height`, in JSON types. As on a screen, y grows downwards.
    """
    labels = found.labels[found.mapped]
    points = [
        {"x": round(float(x), 3), "y": round(float(-y), 3), "in": int(label),
         "text": _shortened(texts[row], LABEL_CHARACTERS)}
        for row, label, (x, y) in zip(found.mapped, labels, found.place, strict=True)
    ]  # fmt: skip
    marks = []
    for number, name in enumerate(found.names[:LABELLED]):
        own = found.place[labels == number]
        if len(own):
            x, y = densest(own)
            most = max(0.0, EDGE - LETTER * len(name))  # a label at the edge is moved inside
            x = float(np.clip(x, -most, most))
            marks.append({"name": name, "in": number, "x": round(x, 3), "y": round(float(-y), 3)})
    marks = apart(marks)
    heights = [one["y"] for one in (*points, *marks)]
    return {"points": points, "labels": marks, "top": min(heights) - MARGIN,
            "height": max(heights) - min(heights) + 2 * MARGIN}  # fmt: skip


def densest(place: np.ndarray) -> np.ndarray:
    """The point with the most others of its cluster around it: a mean could lie between two parts."""
    far = np.linalg.norm(place[:, None] - place[None], axis=2)
    return place[int((far < 0.15).sum(axis=1).argmax())]


def apart(marks: list[dict], least: float = 0.09) -> list[dict]:
    """The labels moved down, from the top of the map on, until no two lie over each other."""
    done: list[dict] = []
    for mark in sorted(marks, key=lambda one: one["y"]):
        for other in done:
            if abs(other["x"] - mark["x"]) < 0.8 and mark["y"] - other["y"] < least:
                mark["y"] = round(other["y"] + least, 3)
        done.append(mark)
    return done


def stability_rows(found: Clusters) -> list[dict]:
    """Each k that was tried, with its index, and whether it was taken."""
    if found.stability is None:
        return []
    tried = found.stability
    return [
        {"k": k, "mean": mean, "error": error, "taken": k == tried.best()}
        for k, mean, error in zip(tried.ks, tried.mean, tried.error, strict=True)
    ]


def colours(count: int) -> list[str]:
    """The report's colours, then further ones around the circle: legible on white."""
    more = count - len(LABEL_COLOURS)
    rest = [colorsys.hls_to_rgb(place / max(more, 1), 0.42, 0.6) for place in range(more)]
    made = ["#" + "".join(f"{round(255 * part):02x}" for part in rgb) for rgb in rest]
    return [*LABEL_COLOURS, *made][:count]


def _weak(found: Clusters) -> bool:
    return found.stability is not None and found.stability.of(found.stability.best()) < MODERATE


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
