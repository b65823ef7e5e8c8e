"""What `roles` ask of a study's jobs, and that a study without them is as it was."""

import pytest
from promptpool.config.resolve import resolve
from promptpool.study.study import Study
from sample_config import ROOT, demo

ROLES = {"roles": {"search": {"query": "eol", "document": "none"}}}


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    """Paths in a config are relative to where the workflow is started."""
    monkeypatch.chdir(ROOT)


def test_without_roles_no_param_and_no_key_is_new():
    study = Study(resolve(demo()))
    assert study.roles_params() == {} and "roles" not in study.shown()
    assert study.template_of("cluster") == study.longest_template("cluster") == study["prompts"]["cluster"]
    assert study.judged_spec()["template"] == study["prompts"]["cluster"]


def test_each_role_is_scored_from_its_own_family():
    study = Study(resolve(demo(**ROLES)))
    (found,) = study.roles_params()["roles"].values()
    families = {role: study.grid_families()[family] for role, (_, family) in found.items()}
    assert {role: prompt for role, (prompt, _) in found.items()} == {"query": "eol", "document": "none"}
    assert "eol" in families["query"] and "none" in families["document"] and families["query"] != families["document"]
    assert study.shown()["roles"] == ROLES["roles"]


def test_an_adapter_and_an_export_get_both_templates():
    config = demo(**ROLES, **{"adapters.halves.prompt": "search", "exports.docs-cluster.prompt": "search"})
    study = Study(resolve(config))
    both = {"query": study["prompts"]["eol"], "document": "{text}"}
    assert study.template_of("search") == both and study.longest_template("search") == both["query"]
    assert study.judged_spec()["template"] == both
    assert study.export_recipe("docs-cluster")["prompt"] == "search"


def test_the_map_shows_an_exports_document_prompt():
    study = Study(resolve(demo(**ROLES, **{"exports.docs-cluster.prompt": "search"})))
    assert study.map_spec()["prompt"] == "none"
