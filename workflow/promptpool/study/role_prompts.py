"""What a study's `roles` ask for: the templates behind a prompt's name, and the vectors that are scored by role."""

from collections.abc import Mapping

from ..config.roles import template_of
from ..templates import by_role


class RolePrompts:
    """The part of a Study that knows query and document prompts. Without roles, it adds no param and no file."""

    config: Mapping
    families: Mapping

    def template_of(self, prompt: str) -> str | dict[str, str]:
        """A prompt's template; of a name in `roles`, {"query": template, "document": template}."""
        return template_of(self.config, prompt)

    def longest_template(self, prompt: str) -> str:
        """A prompt's template; of a name in `roles`, the longer one."""
        return max(by_role(self.template_of(prompt)).values(), key=len)

    def scored_roles(self) -> dict[str, dict[str, list[str]]]:
        """Name -> role -> [prompt, its family], as a param of scoring."""
        return {
            name: {role: [prompt, self._family(prompt)] for role, prompt in spec.items()}
            for name, spec in self.config["roles"].items()
        }

    def roles_params(self) -> dict:
        """`roles` as params of scoring; nothing without any, so that no job runs again."""
        return {"roles": self.scored_roles()} if self.config["roles"] else {}

    def _family(self, prompt: str) -> str:
        families = self.families.items()
        return next(name for name, family in families if prompt in [template.name for template in family.templates])
