"""What a base model's own card says about its licence."""

from collections.abc import Mapping
from pathlib import Path

import yaml

LICENCE_KEYS = ("license", "license_name", "license_link")


def base_licence(model: str, revision: str | None = None) -> dict[str, str]:
    """The licence in the form of hub cards: `license`, and `license_name`, `license_link` if given. {} if unknown.

    model: a directory or a hub id, whose README.md is read (offline: only if it is in the cache).
    """
    try:
        path = Path(model) / "README.md" if Path(model).is_dir() else _from_hub(model, revision)
        facts = read_front_matter(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, UnicodeDecodeError):
        return {}
    return {key: str(facts[key]) for key in LICENCE_KEYS if isinstance(facts.get(key), str) and facts[key].strip()}


def _from_hub(model: str, revision: str | None) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(hf_hub_download(model, "README.md", revision=revision))
    except (HfHubHTTPError, HFValidationError, OSError):
        return None  # a missing card is no reason to fail


def read_front_matter(card: str) -> Mapping:
    """The YAML block at the start of a card; {} if there is none or it is not a mapping."""
    parts = card.lstrip("\ufeff").split("\n---", 1)
    if len(parts) < 2 or not parts[0].startswith("---"):
        return {}
    try:
        content = yaml.safe_load(parts[0][3:])
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, Mapping) else {}
