"""A study's config is checked whole before anything runs, and a fault is told in one line."""

import copy
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import yaml
from promptpool.config.adapters import EXECUTION, recipe
from promptpool.config.resolve import adapter_ids, adapter_of, resolve
from promptpool.config.schema import schema
from promptpool.errors import PromptpoolError
from promptpool.study.study import Study
from sample_config import REMOVED, ROOT, SAMPLE, demo, load, told

STUDIES = ("config.yaml", "workflow/profiles/demo/study.yaml")


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    """Paths in a config are relative to where the workflow is started."""
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("study", STUDIES)
def test_shipped_study_resolves(study):
    assert resolve(load(study), study)["run"] in ("paper", "demo")


@pytest.mark.parametrize("study", STUDIES)
def test_resolving_twice_changes_nothing(study):
    once = resolve(load(study))
    assert resolve(once) == once


def test_input_is_not_mutated():
    config = demo()
    before = copy.deepcopy(config)
    resolve(config)["adapters"]["halves"]["steps"].append(81)
    assert config == before


def test_read_only_mappings_are_accepted():
    from types import MappingProxyType

    assert resolve(MappingProxyType(demo())) == resolve(demo())


def test_defaults_are_filled_at_every_depth():
    full = resolve(demo())
    assert (full["device"], full["dtype"]) == ("auto", "auto")
    assert full["models"]["nano-docs"]["revision"] is None
    assert full["base_model"]["vocabulary"] == 8192
    assert full["pairs"]["halves"]["filters"]["max_echo"] == 0.8
    assert full["adapters"]["halves"]["lora"] == {
        "rank": 64,
        "alpha": 16,
        "dropout": 0.05,
        "target_modules": "auto",
    }
    assert full["tasks"]["DocstringSummaries"]["labels"] is None
    assert full["baselines"]["random"]["seeds"] == 3
    assert full["exports"]["docs-cluster"]["merged"] is True


def test_absent_sections_are_empty_or_null():
    config = {key: demo()[key] for key in ("run", "models", "prompts", "grid", "corpora", "tasks", "base_model")}
    full = resolve(config)
    assert {key: full[key] for key in ("pairs", "adapters", "baselines", "ablations", "exports")} == {
        "pairs": {}, "adapters": {}, "baselines": {}, "ablations": {}, "exports": {},
    }  # fmt: skip
    assert full["attention"] is None


def test_null_seeds_and_names_take_the_value_they_stand_for():
    full = resolve(demo(seed=7, pairs__halves__seed=3, tasks__BIOSSES={"source": "mteb"}))
    assert full["pairs"]["continue"]["seed"] == full["adapters"]["halves"]["seed"] == 7
    assert full["pairs"]["halves"]["seed"] == 3
    assert full["tasks"]["BIOSSES"]["name"] == "BIOSSES"
    assert full["exports"]["docs-cluster"]["max_text_tokens"] == full["grid"]["max_text_tokens"] == 100


def test_defaults_of_one_section_are_not_shared_with_another():
    full = resolve(demo())
    full["grid"]["layers"].append(0)
    full["pairs"]["halves"]["filters"]["length_ratio"].append("changed")
    assert "changed" not in full["pairs"]["continue"]["filters"]["length_ratio"]
    assert resolve(demo())["grid"]["layers"] == [-1]


SCHEMA_FAULTS = {
    "misspelt key of a section": (
        {"adapters.halves.temprature": 0.1},
        "adapters.halves.temprature: unknown key; did you mean 'temperature'?",
    ),
    "misspelt section": ({"adaptors": {}}, "adaptors: unknown key; did you mean 'adapters'?"),
    "misspelt key before the missing one it causes": (
        {"adapters.halves.model": REMOVED, "adapters.halves.modle": "nano-docs"},
        "adapters.halves.modle: unknown key; did you mean 'model'?",
    ),
    "key of another kind of corpus": (
        {"corpora.mine": {"source": "file", "path": "x.csv", "packages": ["numpy"]}},
        "corpora.mine.packages: unknown key; a corpus of source file has source, path, column, positive, negative, "
        "task_share",
    ),
    "span of an export": (
        {"exports.docs-cluster.span": "text"},
        "exports.docs-cluster.span: unknown key; "
        "an export has model, adapter, prompt, pooling, layer, post_processing, normalize, max_text_tokens, "
        "truncate_dim, merged, dtype, serve",
    ),
    "missing key": (
        {"adapters.halves.steps": REMOVED},
        "adapters.halves.steps: missing; add it: "
        "Training steps at which a checkpoint is kept, ascending; each is a separate adapter, name@step.",
    ),
    "unknown pooling": (
        {"grid.poolings": ["men"]},
        "grid.poolings: unknown pooling 'men'; "
        "use one of mean, last, eos, weighted, max, concat, attention, mean:text, last:text, weighted:text, max:text, "
        "concat:text, attention:text (did you mean 'mean'?)",
    ),
    "unknown device": (
        {"device": "gpu"},
        "device: unknown device 'gpu'; use one of auto, cpu, cuda (did you mean 'cpu'?)",
    ),
    "unknown source": (
        {"corpora.mine": {"source": "hugginface"}},
        "corpora.mine.source: unknown source 'hugginface'; use one of docstrings, file, hub",
    ),
    "number that YAML reads as text": (
        {"adapters.halves.learning_rate": "0.5"},
        "adapters.halves.learning_rate: expected a number, not '0.5'; YAML reads this as text, write 0.5",
    ),
    "step that is no whole number": (
        {"adapters.halves.max_steps": 80.0},
        "adapters.halves.max_steps: expected a whole number or null, not 80.0; write 80",
    ),
    "number that is none": (
        {"adapters.halves.temperature": float("nan")},
        "adapters.halves.temperature: expected a number, not nan; write a plain number such as 0.5",
    ),
    "commit id that YAML reads as a number": (
        {"models.nano-docs.revision": 1234567},
        "models.nano-docs.revision: expected text or null, not 1234567; put it in quotes",
    ),
    "single name for a list": (
        {"adapters.halves.pairs": "halves"},
        "adapters.halves.pairs: expected a list or keys of its own or null, not 'halves'; put it in square brackets",
    ),
    "section without its keys": (
        {"adapters.halves.lora": None},
        "adapters.halves.lora: expected keys of its own, not None; indent its keys under it",
    ),
    "value below its bound": (
        {"adapters.halves.batch_size": 1},
        "adapters.halves.batch_size: 1 is too small; give at least 2",
    ),
    "value at an open bound": (
        {"adapters.halves.temperature": 0},
        "adapters.halves.temperature: 0 is too small; give more than 0",
    ),
    "value above its bound": (
        {"corpora.docstrings.task_share": 1},
        "corpora.docstrings.task_share: 1 is too large; give at most 0.9",
    ),
    "empty list": ({"adapters.halves.pairs": []}, "adapters.halves.pairs: [] is empty; give at least 1"),
    "name listed twice": (
        {"grid.prompts": ["none", "eol", "none"]},
        "grid.prompts: 'none' is listed twice; name it once",
    ),
}


@pytest.mark.parametrize(("changes", "line"), SCHEMA_FAULTS.values(), ids=SCHEMA_FAULTS)
def test_value_the_schema_forbids_is_told_in_one_line(changes, line):
    assert told(demo(**changes)) == f"config.yaml: {line}"


ALL_HALVES = "halves@20, halves@40, halves@80"
CROSS_FAULTS = {
    "template without {text}": (
        {"prompts.cluster": "Cluster the text:"},
        "prompts.cluster: the template needs {text} once, or twice to echo; it has 0: 'Cluster the text:'",
    ),
    "template with three {text}": (
        {"prompts.echo": "{text} {text} {text}"},
        "prompts.echo: the template needs {text} once, or twice to echo; it has 3: '{text} {text} {text}'",
    ),
    "training under an echo": (
        {"prompts.cluster": "{text} {text}"},
        "adapters.synthetic.prompt: 'cluster' holds {text} twice, and training needs a prompt with one; name another",
    ),
    "export of an echo": (
        {"prompts.echo": "{text} {text}", "exports.docs-cluster.prompt": "echo"},
        "exports.docs-cluster.prompt: 'echo' holds {text} twice, and an export needs a prompt with one; name another",
    ),
    "a server of no name": (
        {"exports.docs-cluster.serve": ["vlm"]},
        "exports.docs-cluster.serve: unknown serve 'vlm'; use one of vllm, tei, llama.cpp (did you mean 'vllm'?)",
    ),
    "a server that would pool something else": (
        {"exports.docs-cluster.serve": ["vllm"], "exports.docs-cluster.pooling": "weighted"},
        "exports.docs-cluster.serve: a server pools mean or last or eos, not weighted; export one of these, or write "
        "serve: null",
    ),
    "a server of an adapter alone": (
        {"exports.docs-cluster.serve": ["vllm"], "exports.docs-cluster.merged": False},
        "exports.docs-cluster.serve: a server loads no adapter beside its base; write merged: true, or write "
        "serve: null",
    ),
    "export beside joint tokenization": (
        {"grid.tokenization": "joint"},
        "exports.docs-cluster: the grid is scored with tokenization joint, which no exported tokenizer can reproduce; "
        "set grid.tokenization: composed, or remove the export",
    ),
    "export beside normalised texts": (
        {"grid.text_normalisation": "prompteol"},
        "exports.docs-cluster: the grid is scored with text_normalisation prompteol, which no exported tokenizer can "
        "reproduce; set grid.text_normalisation: none, or remove the export",
    ),
    "text span under joint tokenization": (
        {"grid.tokenization": "joint", "grid.poolings": ["mean", "mean:text"]},
        "grid.poolings: tokenization joint has no text span, so no mean:text; remove one of them",
    ),
    "layer that is no share": (
        {"grid.layers": [-1, 1.5]},
        "grid.layers: 1.5 is not a share of the depth; write a whole number, or a share between 0 and 1",
    ),
    "ensemble of a prompt outside the grid": (
        {"ensembles": {"meta": {"prompts": ["eol", "sum"]}}},
        "ensembles.meta.prompts: 'sum' is not in grid.prompts; use one of none, eol, cluster",
    ),
    "ensemble named as a prompt": (
        {"ensembles": {"eol": {"prompts": ["none", "cluster"]}}},
        "ensembles.eol: 'eol' is the name of a prompt; choose another",
    ),
    "roles on one side": (
        {"roles": {"search": {"query": "eol"}}},
        "roles.search.document: missing; add it: The grid's prompt for texts to be found; in training, for positives. "
        "Tasks without queries use it too.",
    ),
    "roles of an absent prompt": (
        {"roles": {"search": {"query": "ask", "document": "none"}}},
        "roles.search.query: no prompt named 'ask' in prompts; use one of none, eol, cluster, or add it there",
    ),
    "adapter of roles of an absent prompt": (
        {"roles": {"search": {"query": "eol", "document": "noone"}}, "adapters.halves.prompt": "search"},
        "roles.search.document: no prompt named 'noone' in prompts; use one of none, eol, cluster (did you mean "
        "'none'?), or add it there",
    ),
    "roles of a prompt outside the grid": (
        {"roles": {"search": {"query": "eol", "document": "none"}}, "grid.prompts": ["none", "cluster"]},
        "roles.search.query: 'eol' is not in grid.prompts; use one of none, cluster",
    ),
    "roles named as a prompt": (
        {"roles": {"eol": {"query": "eol", "document": "none"}}},
        "roles.eol: 'eol' is the name of a prompt; choose another",
    ),
    "roles named as an ensemble": (
        {"roles": {"both": {"query": "eol", "document": "none"}}, "ensembles": {"both": {"prompts": ["eol", "none"]}}},
        "roles.both: 'both' is the name of an ensemble; choose another",
    ),
    "adapter of unknown roles": (
        {"roles": {"search": {"query": "eol", "document": "none"}}, "adapters.halves.prompt": "serch"},
        "adapters.halves.prompt: no prompt named 'serch' in prompts or roles; use one of none, eol, cluster, search "
        "(did you mean 'search'?), or add it there",
    ),
    "roles that echo in training": (
        {
            "prompts.echo": "{text} {text}",
            "roles": {"search": {"query": "echo", "document": "none"}},
            "adapters.halves.prompt": "search",
        },
        "roles.search.query: 'echo' holds {text} twice, and training needs a prompt with one; name another",
    ),
    "roles under joint tokenization": (
        {
            "roles": {"search": {"query": "eol", "document": "none"}},
            "adapters.halves.prompt": "search",
            "adapters.halves.tokenization": "joint",
        },
        "adapters.halves.tokenization: joint puts one prompt round both texts; write composed",
    ),
    "export of roles beside its base": (
        {
            "roles": {"search": {"query": "eol", "document": "none"}},
            "exports.docs-cluster.prompt": "search",
            "exports.docs-cluster.merged": False,
        },
        "exports.docs-cluster.merged: false, but roles need the weights in the directory; write true",
    ),
    "export of roles post-processed": (
        {
            "roles": {"search": {"query": "eol", "document": "none"}},
            "exports.docs-cluster.prompt": "search",
            "exports.docs-cluster.post_processing": "center",
        },
        "exports.docs-cluster.prompt: 'search' is in roles, and statistics are fitted under one prompt; name a prompt",
    ),
    "ablation of roles post-processed": (
        {
            "roles": {"search": {"query": "eol", "document": "none"}},
            "grid.post_processing": ["none", "center"],
            "ablations.prompts.values": ["search"],
            "ablations.prompts.fixed.post_processing": "center",
        },
        "ablations.prompts: 'search' is in roles, which no post-processing or aggregation is scored with; name a "
        "prompt",
    ),
    "bm25 without a search": (
        {"baselines.words": {"kind": "bm25"}},
        "baselines.words: bm25 ranks documents for queries, and no task is one of retrieval; remove it, or add one",
    ),
    "adapter of an absent model": (
        {"adapters.halves.model": "nano-doc"},
        "adapters.halves.model: no model named 'nano-doc' in models; "
        "use one of nano-docs (did you mean 'nano-docs'?), or add it there",
    ),
    "adapter of absent pairs": (
        {"adapters.halves.pairs": ["halves", "continu"]},
        "adapters.halves.pairs: no pairs named 'continu' in pairs; "
        "use one of continue, halves (did you mean 'continue'?), or add it there",
    ),
    "adapter of an absent prompt": (
        {"adapters.halves.prompt": "clusters"},
        "adapters.halves.prompt: no prompt named 'clusters' in prompts; "
        "use one of none, eol, cluster (did you mean 'cluster'?), or add it there",
    ),
    "step beyond the training": (
        {"adapters.halves.steps": [40, 100]},
        "adapters.halves.steps: step 100 is beyond the training's 80 steps; remove it or raise max_steps",
    ),
    "steps out of order": (
        {"adapters.halves.steps": [40, 20]},
        "adapters.halves.steps: 20 comes after 40; list the steps in ascending order",
    ),
    "adapter named base": (
        {"adapters.base": load(SAMPLE)["adapters"]["halves"]},
        "adapters.base: 'base' is a reserved name; choose another",
    ),
    "adapter named baseline": (
        {"adapters.baseline": load(SAMPLE)["adapters"]["halves"]},
        "adapters.baseline: 'baseline' is a reserved name; choose another",
    ),
    "micro-batch negatives without a size": (
        {"adapters.halves.negatives": "micro_batch"},
        "adapters.halves.micro_batch_size: missing; negatives micro_batch takes their number from it; add it",
    ),
    "micro-batch that leaves a rest": (
        {"adapters.halves.negatives": "micro_batch", "adapters.halves.micro_batch_size": 12},
        "adapters.halves.micro_batch_size: 12 does not divide batch_size, 64; change one",
    ),
    "micro-batch of one": (
        {"adapters.halves.negatives": "micro_batch", "adapters.halves.micro_batch_size": 1},
        "adapters.halves.micro_batch_size: a micro-batch of 1 holds no negatives; give at least 2",
    ),
    "micro-batch larger than the batch": (
        {"adapters.halves.micro_batch_size": 65},
        "adapters.halves.micro_batch_size: 65 is larger than batch_size, 64; give at most that",
    ),
    "a training of no length": (
        {"adapters.halves.max_steps": REMOVED},
        "adapters.halves: the length of training is max_steps or epochs, and neither is given; give one of them",
    ),
    "a training of two lengths": (
        {"adapters.halves.epochs": 3},
        "adapters.halves: the length of training is max_steps or epochs, and both are given; give one of them",
    ),
    "GPUs that leave a rest": (
        {"adapters.halves.gpus": 3},
        "adapters.halves.gpus: 3 can't share a batch of 64 evenly; change one",
    ),
    "GPUs whose micro-batches leave a rest": (
        {"adapters.halves.negatives": "micro_batch", "adapters.halves.micro_batch_size": 32, "adapters.halves.gpus": 4},
        "adapters.halves.gpus: 4 can't share a batch of 64 evenly; change one",
    ),
    "a weight of nothing": (
        {"adapters.halves.pairs": {"halves": 0}},
        "adapters.halves.pairs.halves: 0 is too small; give more than 0",
    ),
    "a weight of absent pairs": (
        {"adapters.halves.pairs": {"halves": 1, "continu": 2}},
        "adapters.halves.pairs: no pairs named 'continu' in pairs; "
        "use one of continue, halves (did you mean 'continue'?), or add it there",
    ),
    "an unknown quantization": (
        {"adapters.halves.quantize": "8bit"},
        "adapters.halves.quantize: unknown quantize '8bit'; use one of 4bit, None (did you mean '4bit'?)",
    ),
    "pairs of an absent corpus": (
        {"pairs.halves.corpus": "wiki"},
        "pairs.halves.corpus: no corpus named 'wiki' in corpora; use one of docstrings, or add it there",
    ),
    "rewriting without a model": (
        {"pairs.continue.model": REMOVED},
        "pairs.continue.model: missing; style 'continue' is written by a language model; name one of nano-docs",
    ),
    "rewriting by an absent model": (
        {"pairs.continue.model": "gpt"},
        "pairs.continue.model: no model named 'gpt' in models; use one of nano-docs, or add it there",
    ),
    "style that nobody words": (
        {"pairs.continue.styles": ["continu"]},
        "pairs.continue.styles: unknown style 'continu'; use one of halves, identity, dataset, word-deletion, "
        "word-swap, character-noise, detail, simple, teacher, metaphor, question, backtranslate, summarize, keywords, "
        "search-question, search-phrase, continue (did you mean 'continue'?), or define it in styles",
    ),
    "given positives where the corpus gives none": (
        {"pairs.halves.styles": ["halves", "dataset"]},
        "pairs.halves.styles: dataset needs a corpus with positives; name their column in corpora.docstrings.positive",
    ),
    "own style without a slot": (
        {"styles.headline": {"turns": ["Say {text}", "Shorten it"]}},
        "styles.headline: every instruction needs exactly one {text}, and 'Shorten it' has 0; add it",
    ),
    "own style with a taken name": (
        {"styles.halves": {"chat": "Halve {text}"}},
        "styles.halves: 'halves' is a style that needs no language model; choose another name",
    ),
    "bounds the wrong way round": (
        {"pairs.halves.filters": {"length_ratio": [2, 0.5]}},
        "pairs.halves.filters.length_ratio: 2 is not below 0.5; give the lower bound first",
    ),
    "judge's prompt without a slot": (
        {"pairs.halves.filters": {"semantic": {"model": "nano-docs", "min": 0.2, "prompt": "text"}}},
        "pairs.halves.filters.semantic.prompt: 'text' needs exactly one {text}; add it",
    ),
    "model that a style has no use for": (
        {"pairs.halves.model": "nano-docs"},
        "pairs.halves.model: halves use no language model, so 'nano-docs' is not used; remove it",
    ),
    "column that a corpus lacks": (
        {"corpora.wiki": {"source": "hub", "path": "a/b", "revision": "main"}, "pairs.continue.corpus": "wiki"},
        "pairs.continue.column: the column 'summary' needs a corpus of source docstrings, "
        "and 'wiki' is of source hub; name another",
    ),
    "label of a package that is not read": (
        {"corpora.docstrings.labelled": ["scypi"]},
        "corpora.docstrings.labelled: 'scypi' is not among the corpus's packages; "
        "add it to corpora.docstrings.packages, or remove it here",
    ),
    "task over a package without labels": (
        {"tasks.DocstringSummaries.packages": ["numpy"]},
        "tasks.DocstringSummaries.packages: 'numpy' is not a labelled package of corpus 'docstrings'; "
        "add it to corpora.docstrings.labelled",
    ),
    "docstrings task over another corpus": (
        {
            "corpora.wiki": {"source": "hub", "path": "a/b", "revision": "main"},
            "tasks.DocstringSummaries.corpus": "wiki",
        },
        "tasks.DocstringSummaries.corpus: a docstrings task needs a corpus of source docstrings, "
        "and 'wiki' is of source hub; name another",
    ),
    "base model of an absent corpus": (
        {"base_model.corpus": "docs"},
        "base_model.corpus: no corpus named 'docs' in corpora; use one of docstrings, or add it there",
    ),
    "base model of uneven heads": (
        {"base_model.heads": 6},
        "base_model.heads: 6 does not divide width, 256; give a divisor of it",
    ),
    "grid of an absent model": (
        {"grid.models": ["llama"]},
        "grid.models: no model named 'llama' in models; use one of nano-docs, or add it there",
    ),
    "grid of an absent prompt": (
        {"grid.prompts": ["sum"]},
        "grid.prompts: no prompt named 'sum' in prompts; use one of none, eol, cluster, or add it there",
    ),
    "grid of an absent adapter": (
        {"grid.adapters": ["halfs"]},
        "grid.adapters: no adapter named 'halfs' in adapters; "
        "use one of base, synthetic, halves (did you mean 'halves'?), or add it there",
    ),
    "grid of an absent checkpoint": (
        {"grid.adapters": ["halves@81"]},
        f"grid.adapters: adapter 'halves' keeps no checkpoint at step '81'; use one of {ALL_HALVES} "
        "(did you mean 'halves@80'?)",
    ),
    "checkpoint spelt another way": (
        {"grid.adapters": ["halves@080"]},
        f"grid.adapters: adapter 'halves' keeps no checkpoint at step '080'; use one of {ALL_HALVES} "
        "(did you mean 'halves@80'?)",
    ),
    "adapter that is no list": (
        {"grid.adapters": "halves"},
        "grid.adapters: expected all or a list, not 'halves'; write [halves]",
    ),
    "adapter of a model outside the grid": (
        {"models.other": {"path": "owner/other"}, "grid.models": ["other"]},
        "grid.adapters: 'synthetic' tunes 'nano-docs', which grid.models lacks; add it there, or name others",
    ),
    "ablation that fixes what it varies": (
        {"ablations.poolings.fixed.pooling": "mean"},
        "ablations.poolings.fixed.pooling: the ablation varies pooling, so 'mean' can't be fixed; remove it",
    ),
    "ablation that leaves a value open": (
        {"ablations.poolings.fixed.layer": REMOVED},
        "ablations.poolings.fixed.layer: missing; use one of -1",
    ),
    "ablation of a value outside the grid": (
        {"ablations.poolings.fixed.layer": 0},
        "ablations.poolings.fixed.layer: layer 0 is not in the grid; use one of -1, or add it to grid",
    ),
    "ablation against a value outside the grid": (
        {"ablations.poolings.baseline": "max"},
        "ablations.poolings.baseline: pooling 'max' is not in the grid; "
        "use one of mean, last, eos, weighted, attention, or add it to grid",
    ),
    "ablation of a checkpoint outside the grid": (
        {"grid.adapters": ["halves@20"], "ablations.poolings.fixed.adapter": "halves@80"},
        "ablations.poolings.fixed.adapter: adapter 'halves@80' is not in the grid; "
        "use one of base, halves@20 (did you mean 'halves@20'?), or add it to grid",
    ),
    "attention under an absent prompt": (
        {"attention.prompts": ["sum"]},
        "attention.prompts: no prompt named 'sum' in prompts; use one of none, eol, cluster, or add it there",
    ),
    "attention over an absent task": (
        {"attention.task": "Docs"},
        "attention.task: no task named 'Docs' in tasks; "
        "use one of DocstringSummaries, DocstringParagraphs, StdlibTopics, or add it there",
    ),
    "attention in layers that are no list": (
        {"attention.layers": "last"},
        "attention.layers: expected all or a list, not 'last'; write [last]",
    ),
    "attention with a list of words that is not there": (
        {"attention.function_words": "nowhere.txt"},
        "attention.function_words: can't read 'nowhere.txt' (FileNotFoundError); fix the path or the file",
    ),
    "export of attention pooling": (
        {"exports.docs-cluster.pooling": "attention"},
        "exports.docs-cluster.pooling: 'attention' can't be exported: sentence-transformers' own modules can't weigh "
        "tokens by attention; use one of mean, last, eos, weighted, max, concat",
    ),
    "export of a layer the model lacks": (
        {"exports.docs-cluster.layer": 5},
        "exports.docs-cluster.layer: model 'nano-docs' has no layer 5; give one from -5 to 4",
    ),
    "export of an inner layer beside its base": (
        {"exports.docs-cluster.layer": 2, "exports.docs-cluster.merged": False},
        "exports.docs-cluster.merged: false, but an inner layer cuts the base model, which is stored elsewhere; "
        "write true, or layer -1",
    ),
    "export of no adapter beside its base": (
        {"exports.docs-cluster.adapter": "base", "exports.docs-cluster.merged": False},
        "exports.docs-cluster.merged: false, but adapter base has no weights to keep; write true",
    ),
    "export of rounded weights that it does not hold": (
        {"exports.docs-cluster.dtype": "bfloat16", "exports.docs-cluster.merged": False},
        "exports.docs-cluster.merged: false, but dtype bfloat16 is for merged weights; write true, or float32",
    ),
    "export of a joint adapter": (
        {"adapters.halves.tokenization": "joint"},
        "exports.docs-cluster.adapter: 'halves' has tokenization joint, which no exported tokenizer can reproduce; "
        "export an adapter with tokenization composed",
    ),
    "export of an adapter without its step": (
        {"exports.docs-cluster.adapter": "halves"},
        f"exports.docs-cluster.adapter: 'halves' names no checkpoint; use one of {ALL_HALVES} "
        "(did you mean 'halves@80'?)",
    ),
    "export of another model's adapter": (
        {"models.other": {"path": "owner/other"}, "exports.docs-cluster.model": "other"},
        "exports.docs-cluster.adapter: adapter 'halves@80' tunes model 'nano-docs', not 'other'; name another, or base",
    ),
    "revision of a directory": (
        {"models.nano-docs.revision": "main"},
        "models.nano-docs.revision: 'main' is for a hub model, and 'workflow/resources/nano-docs' is a directory; "
        "remove it",
    ),
}


@pytest.mark.parametrize(("changes", "line"), CROSS_FAULTS.values(), ids=CROSS_FAULTS)
def test_contradiction_is_told_in_one_line(changes, line):
    assert told(demo(**changes)) == f"config.yaml: {line}"


@pytest.mark.parametrize("name", ["..", "../up", "a/b", ".hidden", "two words", "a..b", "line\n", "", "n@1", "x" * 101])
def test_name_unfit_for_a_path_is_refused(name):
    assert re.match(r"config\.yaml: prompts\..*cannot be part of a file path; use letters", told(_with_prompt(name)))
    assert told(demo(run=name)).startswith(f"config.yaml: run: {name!r} cannot be part of a file path; use letters")


def _with_prompt(name: str) -> dict:
    config = demo()
    config["prompts"][name] = "{text}"
    return config


def test_key_that_yaml_does_not_read_as_text_is_refused():
    config = demo()
    config["prompts"][False] = "{text}"  # a prompt named `no`
    line = "config.yaml: prompts.False: YAML reads this key as False, not text; put it in quotes"
    assert told(config) == line


def test_config_without_keys_is_refused():
    assert told({}) == "config.yaml: run: missing; add it: Name of the run; its results are kept in results/<run>/."


def test_fault_names_the_file_it_stands_in():
    assert told(demo(device="tpu"), "mine.yaml").startswith("mine.yaml: device: ")


LABELLED_FAULTS = {
    "missing column": ("text,topic\na,x\nb,y\n", "no column 'label'; it has 'text', 'topic'"),
    "no rows": ("text,label\n", "the file has no rows; fill it or name another"),
    "one label": (
        "text,label\na,x\nb,x\n",
        "column 'label' has only the label 'x'; clustering needs at least two labels",
    ),
    "no label": ("text,label\na,\nb,\n", "column 'label' has no labelled row; clustering needs at least two labels"),
    "nothing at all": ("", "cannot be read as csv: the file is empty; the first line must hold the columns' names"),
}


@pytest.mark.parametrize(("content", "reason"), LABELLED_FAULTS.values(), ids=LABELLED_FAULTS)
def test_unfit_labelled_file_is_told_in_one_line(tmp_path, content, reason):
    path = tmp_path / "mine.csv"
    path.write_text(content)
    line = told(demo(tasks__Mine={"source": "file", "path": str(path)}))
    assert line == f"config.yaml: tasks.Mine: {path}: {reason}"


def test_absent_labelled_file_is_told_in_one_line():
    line = told(demo(tasks__Mine={"source": "file", "path": "mine.csv"}))
    assert line == "config.yaml: tasks.Mine: mine.csv: no such file; fix the path"


def test_a_job_does_not_read_the_labelled_files_again():
    study = demo(tasks__Mine={"source": "file", "path": "mine.csv"})
    assert resolve(study, files=False)["tasks"]["Mine"]["path"] == "mine.csv"


def test_labelled_file_with_its_own_column_names_is_accepted(tmp_path):
    path = tmp_path / "mine.tsv"
    path.write_text("body\ttopic\na\tx\nb\ty\n")
    task = {"source": "file", "path": str(path), "text": "body", "label": "topic"}
    assert resolve(demo(tasks__Mine=task))["tasks"]["Mine"] == task | {"long_texts": None, "chunk_overlap": None}


def test_absent_corpus_file_is_told_in_one_line():
    line = told(demo(corpora__mine={"source": "file", "path": "mine.csv"}))
    assert line == "config.yaml: corpora.mine.path: no such file: 'mine.csv'; fix the path"


def test_corpus_file_of_unknown_type_is_told_in_one_line(tmp_path):
    path = tmp_path / "mine.docx"
    path.touch()
    line = told(demo(corpora__mine={"source": "file", "path": str(path)}))
    known = "use one of .parquet, .csv, .tsv, .jsonl"
    assert line == f"config.yaml: corpora.mine.path: {str(path)!r} is of an unknown type; {known}"


TOPIC_FAULTS = {
    "not a mapping": ("- a\n- b\n", "has fewer than two topics"),
    "one topic": ("a: [x]\n", "has fewer than two topics"),
    "topic without modules": ("a: [x]\nb:\n", "topic 'b' lists no module names"),
    "module twice": ("a: [x]\nb: [x]\n", "'x' is listed under 'a' and 'b'; keep one"),
    "no yaml": ("a: [x\n", "is not valid YAML, line 2"),
    "topic twice": ("a: [x]\nb: [y]\na: [z]\n", "line 3: 'a' occurs twice"),
}


@pytest.mark.parametrize(("content", "reason"), TOPIC_FAULTS.values(), ids=TOPIC_FAULTS)
def test_unfit_topic_file_is_told_in_one_line(tmp_path, content, reason):
    path = tmp_path / "topics.yaml"
    path.write_text(content)
    line = told(demo(tasks__StdlibTopics__labels=str(path)))
    assert line.startswith(f"config.yaml: tasks.StdlibTopics.labels: {str(path)!r}") and reason in line


def test_absent_topic_file_is_told_in_one_line():
    line = told(demo(tasks__StdlibTopics__labels="topics.yaml"))
    assert line == "config.yaml: tasks.StdlibTopics.labels: no such file: 'topics.yaml'; fix the path"


def test_absent_model_directory_is_told_in_one_line():
    line = told(demo(**{"models.nano-docs.path": "./nowhere", "base_model": None}))
    mend = "fix the path, or give a hub id such as owner/name"
    assert line == f"config.yaml: models.nano-docs.path: no such directory: './nowhere'; {mend}"


@pytest.mark.parametrize(
    "key", ["corpora.docs.path", "models.nano-docs.path", "tasks.StdlibTopics.labels", "backends.vllm.python"]
)
def test_a_path_leaves_the_working_directory_only_where_it_is_absolute(key, tmp_path):
    corpus = {"corpora.docs": {"source": "file", "path": "x.csv", "column": "text"}}
    for path in ("../x.csv", "data/../../x.csv", ".."):
        changes = {**corpus, key: path} if key.startswith("corpora") else {key: path}
        assert told(demo(**changes)) == (
            f"config.yaml: {key}: {path!r} leaves the working directory; if that is intended, write it absolute"
        )
    (tmp_path / "x.csv").write_text("text\nbread\n")
    inside = {**corpus, "corpora.docs.path": str(tmp_path / "x.csv")}
    assert resolve(demo(**inside))["corpora"]["docs"]["path"] == str(tmp_path / "x.csv")


@pytest.mark.parametrize("path", ["x" * 256, "é" * 128, "a/" * 2500])
def test_a_path_that_no_file_system_takes_is_told_in_one_line(path):
    line = told(demo(**{"models.nano-docs.path": path}))
    assert line.startswith(f"config.yaml: models.nano-docs.path: {path[:60]!r}... is too long for a path (")


def test_trusted_code_must_be_pinned():
    rival = {"kind": "sentence-transformers", "path": "owner/name", "revision": "main", "trust_remote_code": True}
    line = told(demo(baselines__rival=rival))
    assert line == (
        "config.yaml: baselines.rival.trust_remote_code: code must be pinned before it is trusted; "
        "give a commit id as revision"
    )
    assert resolve(demo(baselines__rival={**rival, "revision": "0" * 40}))["baselines"]["rival"]["trust_remote_code"]


def test_absent_model_directory_is_accepted_where_it_can_be_trained():
    assert resolve(demo(**{"models.nano-docs.path": "./nowhere"}))["base_model"]


def test_model_directory_without_a_model_is_told_in_one_line(tmp_path):
    line = told(demo(**{"models.nano-docs.path": str(tmp_path)}))
    mend = "give a directory that save_pretrained wrote"
    assert line == f"config.yaml: models.nano-docs.path: {str(tmp_path)!r} holds no config.json; {mend}"


def test_layer_that_a_local_model_lacks_is_told_in_one_line(tmp_path):
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 4}')
    model = {"models.nano-docs.path": str(tmp_path), "ablations": {}}
    assert resolve(demo(**model, **{"grid.layers": [-5, 0, 4]}))
    line = told(demo(**model, **{"grid.layers": [5]}))
    assert line == "config.yaml: grid.layers: model 'nano-docs' has no layer 5; give one from -5 to 4"


def test_adapter_ids_are_sorted_by_name_and_step():
    full = resolve(demo(adapters__halves__steps=[9, 10, 80]))
    synthetic = ["synthetic@20", "synthetic@40", "synthetic@80"]
    assert adapter_ids(full) == ["base", "halves@9", "halves@10", "halves@80", *synthetic]


@pytest.mark.parametrize(
    ("selected", "ids"),
    [
        ([], ["base"]),
        (["halves@40"], ["base", "halves@40"]),
        (["halves@40", "halves", "base"], ["base", "halves@20", "halves@40", "halves@80"]),
    ],
)
def test_adapter_ids_follow_the_grid(selected, ids):
    assert adapter_ids(resolve(demo(grid__adapters=selected, ablations={}))) == ids


def test_adapter_ids_of_one_model_leave_out_the_others():
    full = resolve(load("config.yaml"))
    assert {name.split("-")[0] for name in adapter_ids(full, "qwen3-0.6b")} == {"base", "qwen"}


def test_adapter_of_parts_name_and_step():
    full = resolve(demo())
    assert [adapter_of(full, adapter) for adapter in ("base", "halves@80")] == [("base", 0), ("halves", 80)]


@pytest.mark.parametrize("adapter", ["halves", "halves@81", "nothing@80", "base@80", ""])
def test_adapter_of_refuses_what_the_config_does_not_hold(adapter):
    with pytest.raises(PromptpoolError, match=f"no adapter {adapter!r}; use one of base, synthetic@20"):
        adapter_of(resolve(demo()), adapter)


def test_reading_a_config_imports_nothing_heavy():
    code = (
        "import sys, yaml; from promptpool.config.resolve import resolve; "
        "resolve(yaml.safe_load(open('workflow/profiles/demo/study.yaml'))); "
        "print(sorted({'torch', 'transformers', 'pandas', 'snakemake', 'mteb'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": "workflow"}
    )
    assert run.stdout.strip() == "[]"


def keys_of(node: object, where: str = "") -> Iterator[tuple[str, dict, bool]]:
    """(dotted place, subschema, required) of every key that the schema names; conditions of `if` are no keys."""
    if isinstance(node, dict):
        for key, subschema in node.get("properties", {}).items():
            yield f"{where}.{key}", subschema, key in node.get("required", [])
        for name, child in node.items():
            if name != "if":
                yield from keys_of(child, f"{where}.{name}")
    elif isinstance(node, list):
        for child in node:
            yield from keys_of(child, where)


KEYS = list(keys_of(schema()))


@pytest.mark.parametrize(("where", "subschema"), [key[:2] for key in KEYS], ids=[key[0] for key in KEYS])
def test_every_key_is_described(where, subschema):
    assert len(subschema.get("description", "").split()) > 1 and subschema["description"].endswith(".")


def test_every_optional_key_has_a_default():
    without = [where for where, subschema, required in KEYS if not required and "default" not in subschema]
    # A style is of one kind, a part of an aggregation too. An ablation leaves out the key that it varies, and must
    # name the others.
    kinds = [f".$defs.style.{kind}" for kind in ("chat", "plain", "turns")]
    parts = ("model", "adapter", "prompt", "pooling", "layer", "post_processing")
    fixed = [f".$defs.ablation.properties.fixed.{key}" for key in parts]
    assert without == [*kinds, *(f".$defs.part.{key}" for key in ("pooling", "lexical", "dim")), *fixed]


def test_every_section_of_named_keys_is_closed():
    def sections(node: object) -> Iterator[dict]:
        if isinstance(node, dict):
            if "properties" in node and "type" in node:
                yield node
            for name, child in node.items():
                if name != "if":
                    yield from sections(child)
        elif isinstance(node, list):
            for child in node:
                yield from sections(child)

    # `allOf` sections only choose, by source or kind, the closed section that holds the keys.
    is_open = [
        s.get("title") for s in sections(schema()) if s.get("additionalProperties") is not False and "allOf" not in s
    ]
    assert is_open == []


def test_paper_config_shows_every_section():
    assert set(load("config.yaml")) == set(schema()["properties"])


def test_every_key_is_explained_in_the_paper_config():
    """A comment stands beside at least one use of it, also where the use itself is a commented example."""
    lines = (ROOT / "config.yaml").read_text(encoding="utf-8").splitlines()
    explained = {found[1] for line in lines if (found := re.match(r"\s*(?:# +)?([a-z_]+): .*\s# ?\S", line))}
    elsewhere = (".$defs.base_model", ".$defs.ablation.properties.fixed.")  # the demo's study; told by `fixed` as one
    names = {where.rpartition(".")[2] for where, _, _ in KEYS if not where.startswith(elsewhere)}
    assert names - explained - set(schema()["properties"]) == set()


def test_each_stdlib_module_stands_under_one_topic():
    topics = yaml.safe_load((ROOT / "workflow/resources/stdlib_topics.yaml").read_text(encoding="utf-8"))
    modules = [module for group in topics.values() for module in group]
    assert len(modules) == len(set(modules))


def test_stdlib_topics_name_modules_that_exist():
    topics = yaml.safe_load((ROOT / "workflow/resources/stdlib_topics.yaml").read_text(encoding="utf-8"))
    assert {module for group in topics.values() for module in group} <= sys.stdlib_module_names


def test_a_recipe_has_what_changes_an_adapter_and_nothing_else():
    config = demo()
    config["adapters"]["halves"] |= {"pairs": {"halves": 1, "continue": 3}, "gpus": 2, "micro_batch_size": 8}
    full = resolve(config)
    spec = recipe(full, "halves")
    left_out = {"model", "pairs", "path", "revision", "mean_of", "noise", "positives", "seeds", *EXECUTION}
    left_out |= {"hard_negatives", "matryoshka", "layer"}  # only where they are asked for
    assert not set(spec) & left_out and spec["dtype"] == full["dtype"]
    assert spec["weights"] == [1, 3] and Study(full).adapter_pairs("halves") == ["continue", "halves"]
    assert set(spec) | left_out == set(full["adapters"]["halves"]) | {"weights", "dtype"}


def test_weights_keep_their_sets_in_any_order_of_keys():
    for names in (["halves", "continue"], ["continue", "halves"]):
        config = demo()
        config["adapters"]["halves"]["pairs"] = {name: {"halves": 1, "continue": 3}[name] for name in names}
        study = Study(resolve(config))
        weighed = dict(zip(study.adapter_pairs("halves"), study.adapter_spec("halves")["weights"], strict=True))
        assert weighed == {"halves": 1, "continue": 3}


def test_a_micro_batch_is_recipe_only_where_it_sets_the_negatives():
    config = demo()
    config["adapters"]["halves"] |= {"negatives": "micro_batch", "micro_batch_size": 8}
    full = resolve(config)
    assert recipe(full, "halves")["micro_batch_size"] == 8
    assert "micro_batch_size" not in recipe(full, "synthetic")


def test_how_a_job_runs_reaches_it_by_one_way_with_all_defaults():
    from promptpool.training import rank

    config = demo()
    config["adapters"]["halves"] |= {"gpus": 2, "tracking": {"wandb": "mine"}}
    study = Study(resolve(config))
    assert study.execution() == {"device": "auto"}
    assert study.execution("embeddings") == {"device": "auto", "fuse": None}
    assert study.execution("adapters", "halves") == {
        "device": "auto", "micro_batch_size": None, "gradient_checkpointing": False, "attention": "sdpa", "gpus": 2,
        "tracking": {"tensorboard": True, "trackio": None, "wandb": "mine"},
    }  # fmt: skip
    assert study.execution("adapters", "synthetic") == {**rank.EXECUTION_DEFAULTS, "gpus": 1, "device": "auto"}
    assert study.execution("pairs", "halves").keys() == {"device", "options", "shard_size"}
    for name in study["adapters"]:  # and is no part of what decides its weights
        assert not set(EXECUTION) & set(study.adapter_spec(name))


def test_layers_are_fused_by_a_key_that_no_result_knows():
    words = {"auto": None, "on": True, "off": False}  # YAML's own words
    for word, fuse in words.items():
        study = Study(resolve(demo() | yaml.safe_load(f"fuse: {word}")))
        assert study.execution("embeddings") == {"device": "auto", "fuse": fuse}
        assert "fuse" not in study.shown() and study.grid_spec() == Study(resolve(demo())).grid_spec()
    assert told(demo(fuse="always")) == ("config.yaml: fuse: unknown fuse 'always'; use one of auto, True, False")


def server(**openai: object) -> Study:
    pairs = {"corpus": "docstrings", "styles": ["detail"], "backend": "openai", "model": "theirs"}
    return Study(resolve(demo(pairs__asked=pairs, backends__openai=openai)))


def test_what_a_server_is_asked_is_part_of_the_pairs_and_where_it_stands_is_not():
    here = server(url="http://localhost:8000/v1")
    assert here.pairs_spec("asked") == server(url="http://elsewhere:1/v1", concurrency=2).pairs_spec("asked")
    thinking = server(url="http://localhost:8000/v1", extra={"reasoning_effort": "low"})
    assert thinking.pairs_spec("asked") != here.pairs_spec("asked")
    assert here.pairs_model("asked") == {"model": "theirs", "revision": None}
    assert here.pairs_gpus("asked") == 0


def test_the_config_that_a_report_prints_has_no_address():
    assert "localhost" not in str(server(url="http://localhost:8000/v1").shown())


def test_how_attention_is_shown_is_no_part_of_another_stage_and_its_words_count(tmp_path):
    plain = Study(resolve(demo()))
    assert plain.attention_spec()["layers"] == [-1] and not plain.attention_spec()["heads"]
    assert list(plain.attention_prompts()) == ["cluster"]
    (tmp_path / "words.txt").write_text("der die das\n", encoding="utf-8")
    own = Study(resolve(demo(attention__function_words=str(tmp_path / "words.txt"))))
    assert own.attention_words() != plain.attention_words()
    assert own.grid_spec() == plain.grid_spec()
    none = demo()
    none["attention"] = None
    assert Study(resolve(none)).attention_prompts() == {} and Study(resolve(none)).attention_words() is None


@pytest.mark.parametrize(("written", "number"), [("5e-5", 5e-5), ("1e-4", 1e-4), ("2E-05", 2e-5), ("5.e-5", 5e-5)])
def test_numbers_with_an_exponent_are_read_as_yaml_1_2_reads_them(written, number):
    rate = yaml.safe_load(written)
    found = resolve(demo(adapters__halves__learning_rate=rate), "config.yaml")
    assert found["adapters"]["halves"]["learning_rate"] == number


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("pairs__halves__filters__length_ratio", ["5e-2", 20], [0.05, 20]),
        ("pairs__halves__filters__near_duplicate", "9e-1", 0.9),
        ("pairs__halves__noise__deletion", "1e-1", 0.1),
        ("adapters__halves__pairs", {"halves": "5e-1"}, {"halves": 0.5}),
        ("adapters__halves__temperature", "5e-2", 0.05),
    ],
)
def test_a_number_with_an_exponent_may_stand_wherever_a_number_may(key, value, wanted):
    found = resolve(demo(**{key: value}), "config.yaml")
    for step in key.split("__"):
        found = found[step]
    assert found == wanted


def test_a_text_that_looks_like_a_number_stays_text():
    found = resolve(demo(prompts__mine="1e5 {text}", models__hub={"path": "owner/x", "revision": "1e5"}), "config.yaml")
    assert found["models"]["hub"]["revision"] == "1e5"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "localhost:8000"}, "baselines.api.url: 'localhost:8000' is not a web address"),
        ({"url": "https://me:word@host/v1"}, "would be shown in logs; use key_variable"),
        ({"prompt": "query:"}, "baselines.api.prompt: needs exactly one {text}; it has 0"),
        ({"model": "sk-0123456789abcdefghij"}, "this looks like a secret"),
        ({"path": "x"}, "baselines.api.path: unknown key"),
    ],
)
def test_a_baseline_behind_a_server_is_checked(changes, words):
    spec = {"kind": "openai", "url": "http://localhost:8000/v1", "model": "embedder", **changes}
    assert words in told(demo(baselines__api=spec))
