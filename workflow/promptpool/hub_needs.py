"""What a resolved config takes from the model hub. Every Snakemake process asks, so nothing heavy is imported here."""

from collections.abc import Mapping

from .config_checks import looks_local

MODEL, DATASET = "model", "dataset"
USERS = ("pairs", "adapters", "exports")  # sections whose entries name a `model`


def hub_needs(config: Mapping) -> dict[str, dict]:
    """`section/name` -> what that entry of the config asks of the hub; empty where a study runs on local files alone.

    A value holds `repo_type`, `repo` (None for an MTEB task: only MTEB knows its data sets), `revision` as asked (None
    for the repository's default branch, or MTEB's own pin), `file` (the one file that is read, or None) and `task`
    (MTEB's name of it, or None). A model that nothing uses is not asked for.
    """
    needs: dict[str, dict] = {}
    used = set(config["grid"]["models"])
    used |= {spec["model"] for section in USERS for spec in config[section].values() if spec.get("model")}
    for name in sorted(used):
        if not looks_local(config["models"][name]["path"]):
            needs[f"models/{name}"] = _need(MODEL, config["models"][name])
    for name, spec in sorted(config["corpora"].items()):
        if spec["source"] == "hub":
            needs[f"corpora/{name}"] = _need(DATASET, spec)
    for name, spec in sorted(config["tasks"].items()):
        if spec["source"] == "mteb":
            needs[f"tasks/{name}"] = {**_need(DATASET, {**spec, "path": None}), "task": spec["name"]}
    for name, spec in sorted(config["baselines"].items()):
        if spec.get("path") and not looks_local(spec["path"]):
            needs[f"baselines/{name}"] = _need(MODEL, spec)
    return needs


def told(key: str, need: Mapping) -> str:
    """One need as an error names it: `models.llama: meta-llama/Llama-3.2-1B@4e20de3`."""
    what = f"MTEB's {need['task']}" if need["task"] else need["repo"]
    return f"{key.replace('/', '.', 1)}: {what}" + (f"@{need['revision']}" if need["revision"] else "")


def _need(repo_type: str, spec: Mapping) -> dict:
    named = {"repo_type": repo_type, "repo": spec["path"], "revision": spec.get("revision")}
    return {**named, "file": spec.get("file"), "task": None}
