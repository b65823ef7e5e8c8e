"""How many texts an MTEB task asks for, and how long they are, from the statistics that MTEB ships with each task."""

from collections.abc import Iterator, Mapping

SAMPLES_PER_LABEL, EXPERIMENTS = 8, 10  # the numbers of training texts that MTEB's classification draws


def text_count(task: object) -> list[int] | None:
    """[unique texts, characters of these] over the evaluated splits; None if MTEB ships no statistics.

    A clustering task embeds the share of its documents that it samples. All languages are counted, even if a benchmark
    uses only one, so this is an upper bound.
    """
    shipped = task.metadata.descriptive_stats
    if not shipped:
        return None
    texts = characters = 0.0
    for split in task.metadata.eval_splits:
        documents = shipped.get(split, {}).get("num_samples", 0)
        for part in _parts(shipped.get(split, {})):
            embedded = min(part["unique_texts"], _sampled(task, documents) or part["unique_texts"])
            texts += embedded
            characters += embedded * part["average_text_length"]
    if "Classification" in task.metadata.type and shipped.get("train"):
        for part in _parts(shipped["train"]):
            labels = _labels(shipped["train"])
            drawn = min(part["unique_texts"], SAMPLES_PER_LABEL * EXPERIMENTS * labels)
            texts += drawn
            characters += drawn * part["average_text_length"]
    return [round(texts), round(characters)]


def clustering_labels(task: object) -> int | None:
    """The most labels of any evaluated split of a clustering task; None for other types, or if MTEB counts none."""
    if task.metadata.type != "Clustering":
        return None
    shipped = task.metadata.descriptive_stats or {}
    splits = (shipped.get(split, {}) for split in task.metadata.eval_splits)
    return max((_counted(split) or 0 for split in splits), default=0) or None


def _parts(split: Mapping) -> Iterator[Mapping]:
    """Every set of texts of a split: documents, queries, first and second texts..."""
    for part in split.values():
        if isinstance(part, Mapping) and part.get("unique_texts") and part.get("average_text_length"):
            yield part


def _labels(split: Mapping) -> int:
    return _counted(split) or 2


def _counted(split: Mapping) -> int | None:
    for key in ("label_statistics", "labels_statistics"):
        if split.get(key):
            return split[key].get("unique_labels")
    return None


def _sampled(task: object, documents: int) -> float | None:
    """How many of so many documents a clustering task embeds; None if it embeds all."""
    most = getattr(task, "max_document_to_embed", None)
    share = getattr(task, "max_fraction_of_documents_to_embed", None)
    return most or (share * documents if share else None)
