"""A run as an RO-Crate that other tools read: every artifact with its digest, and the job that made it from what.

It follows the profile Process Run Crate 0.5 (https://w3id.org/ro/wfrun/process), by the library `rocrate`, an extra.
The crate is the run's own directory. Only ro-crate-metadata.json is written into it; no file is copied or moved.
"""

import mimetypes
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

from ..artifacts.files import sidecar_path, write_json
from ..artifacts.integrity import read_sealed
from ..errors import PromptpoolError
from .rebuild import artifacts_of

METADATA = "ro-crate-metadata.json"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
TERMS = "https://w3id.org/ro/terms/workflow-run/context"  # where `sha256` is defined


def write_run_crate(results: str | Path, config: str | Path, licence: str | None = None) -> Path:
    """Writes ro-crate-metadata.json into a run's results. Returns its path.

    config: the study's file, which is described as an input of the run; licence: of the results, if the user names one.
    Artifacts whose sidecars are damaged are left out. Raises PromptpoolError if the library is missing, or if there is
    no artifact.
    """
    try:
        from rocrate.model import ContextEntity, SoftwareApplication
        from rocrate.rocrate import ROCrate
    except ImportError as error:
        raise PromptpoolError(
            f"crate: needs the package rocrate, which can't be imported ({error}); install it with "
            "pip install 'promptpool[crate]'"
        ) from None

    results = Path(results)
    sealed = {path: read_sealed(sidecar_path(path)) for path in artifacts_of(results) if path.exists()}
    known = {
        path: found for path, found in sealed.items() if found and {"finished", "inputs", "packages"} <= set(found)
    }
    if not known:
        raise PromptpoolError(f"{results}: holds no artifact with a sidecar; `promptpool run` makes them")
    newest = max(found["finished"] for found in known.values())
    crate = ROCrate(version="1.1")  # which the profile is of
    crate.metadata.extra_contexts.append(TERMS)
    root = crate.root_dataset
    root["name"], root["datePublished"] = f"promptpool run {results.name}", newest
    root["description"] = f"Artifacts of the study {Path(config).name}, each with its digest and the job that made it."
    stated = {"@type": "CreativeWork", "name": licence or "not stated: ask whoever made this run"}
    root["license"] = crate.add(ContextEntity(crate, "#licence", stated))
    profile = crate.add(
        ContextEntity(crate, PROFILE, {"@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"})
    )
    root["conformsTo"] = profile
    version = metadata.version("promptpool")
    software = crate.add(SoftwareApplication(crate, "#promptpool", {"name": "promptpool", "softwareVersion": version}))
    entities = {path: _described(crate, results, path, found) for path, found in known.items()}
    for path, found in known.items():
        action = crate.add(
            ContextEntity(crate, f"#job-{path.relative_to(results).as_posix()}", _job(path, results, found))
        )
        action["instrument"], action["result"] = software, entities[path]
        given = [_input(crate, results, Path(name), digest, entities) for name, digest in found["inputs"].items()]
        given = list(dict.fromkeys(given))
        if given:  # the format wants a single value bare
            action["object"] = given if len(given) > 1 else given[0]
        root.append_to("mentions", action)
    study = _input(crate, results, Path(config), None, entities)
    root.append_to("mentions", study)
    write_json(results / METADATA, crate.metadata.generate())
    return results / METADATA


def _described(crate, results: Path, path: Path, found: Mapping):
    """A data entity: a file with its digest, or a directory with its files' digest."""
    name = path.relative_to(results).as_posix()
    facts = {"name": name, "sha256": found["digest"], "dateModified": found["finished"]}
    if path.is_dir():
        return crate.add_directory(dest_path=f"{name}/", properties=facts)
    kind = {".parquet": "application/vnd.apache.parquet", ".safetensors": "application/octet-stream"}.get(
        path.suffix, mimetypes.guess_type(path.name)[0] or "text/plain"
    )
    return crate.add_file(
        dest_path=name, properties={**facts, "contentSize": str(path.stat().st_size), "encodingFormat": kind}
    )


def _input(crate, results: Path, path: Path, digest: str | None, entities: Mapping):
    """An artifact of the run, or something from outside it, which is named without its directories."""
    from rocrate.model import ContextEntity

    if path in entities:
        return entities[path]
    inside = next((entities[folder] for folder in path.parents if folder in entities), None)
    if inside is not None:
        return inside
    identity = f"#input-{path.name}" + (f"-{digest[:12]}" if digest else "")
    facts = {"@type": "CreativeWork", "name": path.name, **({"sha256": digest} if digest else {})}
    return crate.dereference(identity) or crate.add(ContextEntity(crate, identity, facts))


def _job(path: Path, results: Path, found: Mapping) -> dict:
    finished = datetime.fromisoformat(found["finished"]).astimezone(UTC)
    begun = finished - timedelta(seconds=found.get("seconds") or 0)
    versions = ", ".join(f"{name} {version}" for name, version in found["packages"].items() if version)
    return {
        "@type": "CreateAction",
        "name": f"made {path.relative_to(results).as_posix()}",
        "startTime": begun.isoformat(timespec="seconds"),
        "endTime": finished.isoformat(timespec="seconds"),
        "description": f"python {found['python']} on {found['platform']}; {versions}",
    }
