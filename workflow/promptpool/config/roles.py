"""Roles: a query prompt and a document prompt under one name, which stands where a prompt's name may."""

from collections.abc import Iterator, Mapping

from ..errors import choices
from ..templates import DOCUMENT, ROLES
from .references import no_echo, references


def role_faults(config: Mapping) -> Iterator[str]:
    """The faults of `roles`, as `dotted.key: what is wrong; what to do`."""
    known = config["grid"]["prompts"]
    for name, spec in config["roles"].items():
        for section, kind in (("prompts", "a prompt"), ("ensembles", "an ensemble")):
            if name in config[section]:
                yield f"roles.{name}: {name!r} is the name of {kind}; choose another"
        for role in ROLES:
            yield from references(f"roles.{name}.{role}", "prompt", [spec[role]], config, "prompts")
            if spec[role] not in known:
                yield f"roles.{name}.{role}: {spec[role]!r} is not in grid.prompts; {choices(spec[role], known)}"


def prompt_of_role(config: Mapping, name: str | None, role: str = DOCUMENT) -> str | None:
    """The prompt that a name stands for in one role: the name itself, unless it is one of `roles`."""
    return config["roles"].get(name, {}).get(role, name)


def template_of(config: Mapping, name: str) -> str | dict[str, str]:
    """A prompt's template, or the templates of both roles: {"query": ..., "document": ...}."""
    if name not in config["roles"]:
        return config["prompts"][name]
    return {role: config["prompts"][prompt_of_role(config, name, role)] for role in ROLES}


def prompt_faults(key: str, name: str, what: str, config: Mapping) -> Iterator[str]:
    """The faults of a prompt, or of roles, that `what` (training, an export) uses: unknown, or with {text} twice."""
    if name in config["roles"]:
        for role in ROLES:
            prompt = config["roles"][name][role]
            yield from references(f"roles.{name}.{role}", "prompt", [prompt], config, "prompts")
            yield from no_echo(f"roles.{name}.{role}", prompt, what, config)
        return
    section = "prompts or roles" if config["roles"] else "prompts"
    if name not in config["prompts"]:
        yield from references(key, "prompt", [name], {section: [*config["prompts"], *config["roles"]]}, section)
    yield from no_echo(key, name, what, config)
