"""Who draws in vLLM's worker: our processor on its V1 model runner, vLLM on its V2 runner. With a pretended vLLM."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from promptpool.generation.inside_vllm import seeded_draws, vllm_worker
from promptpool.generation.inside_vllm.vllm_worker import Engine

SETTINGS = {
    "model": "m", "revision": None, "device": "auto", "dtype": "auto", "gpu_memory": 0.9, "kv_cache_gib": 1,
    "max_new_tokens": 8, "temperature": 0.7, "top_p": 0.9, "tensor_parallel": 1, "max_model_len": None,
    "prefix_caching": True, "enforce_eager": None, "marks": [], "dropped": [],
}  # fmt: skip


@pytest.fixture
def pretend(monkeypatch):
    """A function that puts a vLLM in place and returns the keywords with which its engine will be opened."""

    def build(*, cpu: bool, triton: bool, asked: bool | None, second: bool) -> dict:
        given: dict = {}
        config = SimpleNamespace(use_v2_model_runner=second)
        core = SimpleNamespace(model_config=SimpleNamespace(max_model_len=64), vllm_config=config)

        def opened(**keywords):
            given.update(keywords)
            return SimpleNamespace(llm_engine=core, get_tokenizer=lambda: None)

        parts = {
            "vllm": {"LLM": opened, "envs": SimpleNamespace(VLLM_USE_V2_MODEL_RUNNER=asked)},
            "vllm.platforms": {"current_platform": SimpleNamespace(is_cpu=lambda: cpu)},
            "vllm.triton_utils": {"HAS_TRITON": triton},
            "vllm.v1.sample.logits_processor": {"LogitsProcessor": object, "process_dict_updates": None},
        }
        for name, content in parts.items():
            module = ModuleType(name)
            module.__dict__.update(content)
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setitem(sys.modules, "seeded_draws", seeded_draws)
        return given

    return build


RUNNERS = [
    (dict(cpu=True, triton=False, asked=None, second=False), "seeded_draws"),
    (dict(cpu=False, triton=False, asked=None, second=False), "seeded_draws"),
    (dict(cpu=False, triton=True, asked=False, second=False), "seeded_draws"),  # the user wants V1
    (dict(cpu=False, triton=True, asked=None, second=True), "vLLM"),  # a GPU's default
    (dict(cpu=True, triton=True, asked=True, second=True), "vLLM"),
]


@pytest.mark.parametrize(("machine", "who"), RUNNERS)
@pytest.mark.parametrize("several", [1, 2])
def test_our_processor_draws_on_the_v1_runner_and_vllm_on_its_v2_runner(pretend, capfd, machine, who, several):
    given = pretend(**machine)
    engine = Engine({**SETTINGS, "tensor_parallel": several})
    assert engine.facts["draws"] == who
    ours = who == "seeded_draws"
    assert given.get("logits_processors") == (["vllm_worker:SeededDraws"] if ours else None)
    assert ("seed" in engine._sampling(3)) != ours
    assert capfd.readouterr().err == ""


def test_seeds_of_a_runner_that_draws_row_by_row_are_one_warning(pretend, capfd):
    pretend(cpu=False, triton=True, asked=None, second=False)
    engine = Engine(SETTINGS)
    assert engine.facts["draws"] == "vLLM" and engine._sampling(3)["seed"] == 3
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and "row by row" in lines[0] and "VLLM_USE_V2_MODEL_RUNNER=0" in lines[0]


def test_the_likeliest_text_needs_no_draw(pretend):
    given = pretend(cpu=True, triton=False, asked=None, second=False)
    assert "draws" not in Engine({**SETTINGS, "temperature": 0}).facts and "logits_processors" not in given


def test_vllm_finds_the_processor_by_name(pretend):
    pretend(cpu=True, triton=False, asked=None, second=False)
    found = vllm_worker.SeededDraws
    assert isinstance(found, type) and found.__name__ == "SeededDraws"
    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        _ = vllm_worker.Other
