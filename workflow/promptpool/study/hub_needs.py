"""What a resolved config needs from the model hub. Every Snakemake process reads this, so nothing heavy is imported."""

from collections.abc import Iterable, Mapping

from ..errors import PromptpoolError
from ..hub.snapshots import DATASET, MODEL, looks_local
from ..tasks.catalogue import catalogue

USERS = ("pairs", "adapters", "exports")  # sections whose entries name a `model`
EMBEDDERS = ("semantic", "round_trip")  # filters of pairs that may name one too


def hub_needs(config: Mapping) -> dict[str, list[dict]]:
    """`section.name` -> what that entry of the config needs from the hub; entries that use local files are left out.

    A need is `repo_type`, `repo`, `revision` as asked for, and `file` (the only one that is read, or None for all). An
    MTEB task needs the data sets that the catalogue lists, at MTEB's own revisions unless the config gives one. A model
    that nothing uses is not needed. Raises PromptpoolError if one revision is given for a task with several data sets.
    """
    needs: dict[str, list[dict]] = {}
    used = set(config["grid"]["models"])
    used |= {spec["model"] for section in USERS for spec in config[section].values() if spec.get("model")}
    judges = {
        name: sorted({filters[key]["model"] for key in EMBEDDERS if filters[key] and filters[key]["model"]})
        for name, filters in ((name, spec["filters"]) for name, spec in config["pairs"].items())
    }
    used |= {one["model"] for spec in config["adapters"].values() if (one := spec["hard_negatives"]) and one["model"]}
    used = used.union(*judges.values()) & set(config["models"])  # a server's is its own
    for name in sorted(used):
        if not looks_local(config["models"][name]["path"]):
            needs[f"models.{name}"] = [_need(MODEL, **config["models"][name])]
    for name, models in sorted(judges.items()):
        own = [embedder_need(model) for model in models if model not in config["models"] and not looks_local(model)]
        if own:
            needs[f"pairs.{name}"] = own
    for name, spec in sorted(config["corpora"].items()):
        if spec["source"] == "hub":
            needs[f"corpora.{name}"] = [_need(DATASET, **spec)]
    for name, spec in sorted(config["tasks"].items()):
        if spec["source"] == "mteb":
            needs[f"tasks.{name}"] = _data_sets(f"tasks.{name}", spec)
    for section in ("baselines", "adapters"):
        for name, spec in sorted(config[section].items()):
            if spec.get("path") and not looks_local(spec["path"]):
                needs[f"{section}.{name}"] = [_need(MODEL, path=spec["path"], revision=spec["revision"])]
    return needs


def embedder_need(model: str) -> dict:
    """What a filter's embedder from the hub needs."""
    return _need(MODEL, path=model)


def told(entry: str, needs: Iterable[Mapping]) -> str:
    """One entry as errors name it: `models.llama: meta-llama/Llama-3.2-1B@4e20de3`."""
    return f"{entry}: " + ", ".join(f"{need['repo']}@{need['revision']}" for need in needs)


def _data_sets(key: str, spec: Mapping) -> list[dict]:
    known = catalogue()["data"][spec["name"]]
    if spec["revision"] is not None and len(known) > 1:
        raise PromptpoolError(f"{key}.revision: {spec['name']} has {len(known)} data sets; keep MTEB's own revisions")
    return [_need(DATASET, path=repo, revision=spec["revision"] or revision) for repo, revision in known]


def _need(repo_type: str, *, path: str, revision: str | None = None, file: str | None = None, **_: object) -> dict:
    return {"repo_type": repo_type, "repo": path, "revision": revision or "main", "file": file}
