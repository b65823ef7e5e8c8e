"""What a base model's own card says about its licence."""

from pathlib import Path

import yaml
from huggingface_hub import metadata_load

LICENCE_KEYS = ("license", "license_name", "license_link")


def base_licence(model: str, revision: str | None = None) -> dict[str, str]:
    """The licence in the form of hub cards: `license`, and `license_name`, `license_link` if given. {} if unknown.

    model: a directory or a hub id, whose README.md is read (offline: only if it is in the cache).
    """
    try:
        path = Path(model) / "README.md" if Path(model).is_dir() else _from_hub(model, revision)
        facts = (path and metadata_load(path)) or {}
    except (OSError, ValueError, yaml.YAMLError):  # no text, or no YAML, or no mapping
        return {}
    return {key: str(facts[key]) for key in LICENCE_KEYS if isinstance(facts.get(key), str) and facts[key].strip()}


def _from_hub(model: str, revision: str | None) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(hf_hub_download(model, "README.md", revision=revision))
    except (HfHubHTTPError, HFValidationError, OSError):
        return None  # a missing card is no reason to fail
