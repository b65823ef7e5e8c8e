"""What a GPU's driver can answer, and what is done then. No GPU is needed: the answers are given here."""

from types import SimpleNamespace

import pytest
import torch
from promptpool.embedding.batches import to_host
from promptpool.embedding.forward_passes import TreePass, small_copy, takes_trees
from promptpool.embedding.token_budget import TokenBudget
from promptpool.errors import PromptpoolError
from promptpool.models import backbone
from promptpool.models.backbone import load_backbone, pick_device
from promptpool.models.decoder import supported_attention
from promptpool.models.memory import is_device_fault, is_out_of_memory
from promptpool.runtime import gpu_leases as leases
from promptpool.runtime.gpu_leases import LENT, leased, visible_devices
from promptpool.training.lora import memory
from promptpool.training.losses import InfoNCE
from tiny import tiny_config, tiny_model
from torch import nn

GB = 2**30


@pytest.mark.parametrize("nodes", [["nvidia3"], ["nvidia0", "nvidia1"], ["nvidia2", "nvidia10"], []])
def test_devices_are_numbered_as_cuda_numbers_them(tmp_path, monkeypatch, nodes):
    for name in [*nodes, "nvidiactl", "nvidia-uvm"]:
        (tmp_path / name).touch()
    monkeypatch.setattr(leases, "DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_devices() == [str(number) for number in range(len(nodes))]


def lent(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(leases, "FOLDER", tmp_path / "locks")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_a_job_that_was_lent_a_gpu_does_not_go_on_without_it(tmp_path, monkeypatch):
    lent(monkeypatch, tmp_path)
    monkeypatch.setattr(torch.version, "cuda", None)
    with (
        leased(1),
        pytest.raises(PromptpoolError, match="lent GPU 0, and CUDA does not see it: this torch is a CPU build"),
    ):
        pick_device("auto")
    with leased(1):
        assert pick_device("cpu").type == "cpu"
    with leased(0):
        assert pick_device("auto").type == "cpu"
    assert LENT not in backbone.os.environ


@pytest.mark.parametrize(
    "answer", ["Found no NVIDIA driver on your system", "The NVIDIA driver is too old (found 11040)"]
)
def test_the_drivers_own_words_are_in_the_error(tmp_path, monkeypatch, answer):
    lent(monkeypatch, tmp_path)
    monkeypatch.setattr(torch.version, "cuda", "13.0")

    def init() -> None:
        raise RuntimeError(answer)

    monkeypatch.setattr(torch.cuda, "init", init)
    with leased(1), pytest.raises(PromptpoolError, match="NVIDIA driver"):
        pick_device("auto")


def test_cudnns_attention_is_off_where_there_is_a_gpu(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", asked.append)
    assert pick_device("auto").type == "cuda" and asked == [False]
    assert pick_device("cpu").type == "cpu" and asked == [False]


@pytest.mark.parametrize("number", [0, 1])
def test_a_copy_waits_for_the_stream_of_its_own_device(monkeypatch, number):
    recorded = []

    class Event:
        record = staticmethod(lambda stream=None: recorded.append(stream))
        synchronize = staticmethod(lambda: None)

    place = torch.device("cuda", number)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: ("stream", device))
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *shape, pin_memory, **how: empty(*shape, **how))
    rows = torch.ones(2, 3)
    found = SimpleNamespace(device=place, shape=rows.shape, dtype=rows.dtype)
    monkeypatch.setattr(torch.Tensor, "copy_", lambda self, source, non_blocking: self)
    to_host([found])()
    assert recorded == [("stream", place)]


@pytest.mark.parametrize(("others", "grows"), [(0, True), (50 * GB, False)])
def test_what_another_job_holds_is_no_room_for_a_larger_batch(monkeypatch, others, grows):
    cuda = torch.cuda
    monkeypatch.setattr(cuda, "mem_get_info", lambda _: (80 * GB - others - 20 * GB, 80 * GB))
    monkeypatch.setattr(cuda, "memory_reserved", lambda _: 20 * GB)
    monkeypatch.setattr(cuda, "max_memory_reserved", lambda _: 20 * GB)
    monkeypatch.setattr(cuda, "reset_peak_memory_stats", lambda _: None)
    monkeypatch.setattr(cuda, "memory_allocated", lambda _: 20 * GB)
    budget = TokenBudget.for_device(torch.device("cuda"))
    start = budget.tokens
    budget.worked(start)
    assert (budget.tokens > start) == grows
    assert memory(torch.device("cuda")) == 60 * GB - others


@pytest.mark.parametrize(
    "words", ["CUDA error: an illegal memory access", "CUBLAS_STATUS_EXECUTION_FAILED", "cuDNN error"]
)
def test_a_fault_of_the_device_is_not_taken_for_a_mask_that_does_not_fit(tmp_path, monkeypatch, words):
    loaded = load_backbone(str(tiny_model(tmp_path / "model")), device="cpu", attention="promptpool_tree")

    def run(*_: object) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr(TreePass, "run", run)
    assert is_device_fault(RuntimeError(words)) and not is_device_fault(RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match=words[:8]):
        takes_trees(loaded.model, 1)


def sees(monkeypatch, devices: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", lambda: None)


def test_a_job_does_not_go_on_with_fewer_gpus_than_it_was_lent(tmp_path, monkeypatch):
    lent(monkeypatch, tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-5ebe9f43,MIG-9a2e")
    sees(monkeypatch, 1)
    for device in ("auto", "cuda"):
        with leased(2), pytest.raises(PromptpoolError, match="lent GPU GPU-5ebe9f43,MIG-9a2e, and CUDA sees only 1"):
            pick_device(device)
    with leased(1):
        assert pick_device("auto").type == "cuda"


@pytest.mark.parametrize(("device", "devices"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_a_gpu_by_number_that_is_not_there_is_one_line(monkeypatch, device, devices):
    monkeypatch.delenv(LENT, raising=False)
    sees(monkeypatch, devices)
    with pytest.raises(PromptpoolError, match=f"device: {device}, and this job sees {devices or 'no'} GPU"):
        pick_device(device)


def test_cudnns_attention_is_off_for_a_device_that_is_no_name(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", asked.append)
    assert pick_device(torch.device("cuda", 1)) == torch.device("cuda", 1)
    assert asked == [False]


class Driver:
    """The memory of one GPU of 80 GB that several processes share; each call is of the process named by `who`."""

    def __init__(self, monkeypatch, jobs: int):
        self.held, self.who = [0.0] * jobs, 0
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (int(80 * GB - sum(self.held)), 80 * GB))
        for name in ("memory_reserved", "max_memory_reserved", "memory_allocated"):
            monkeypatch.setattr(torch.cuda, name, lambda _: int(self.held[self.who]))
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)


@pytest.mark.parametrize("jobs", [1, 2, 3])
@pytest.mark.parametrize("first", [0.5, 3.8, 11.4])  # GB of the first batch
def test_jobs_that_share_a_gpu_and_start_together_fit_in_it(tmp_path, monkeypatch, jobs, first):
    driver = Driver(monkeypatch, jobs)
    monkeypatch.setattr(leases, "FOLDER", tmp_path / "locks")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    place = torch.device("cuda")
    with leased(1, jobs_per_gpu=jobs):
        assert jobs * 0.6 * memory(place) <= 0.6 * 80 * GB  # for activations of a training, each
        budgets = [TokenBudget.for_device(place) for _ in range(jobs)]
        start = budgets[0].tokens
        for _ in range(6):
            driver.held = [first * GB * budget.tokens / start for budget in budgets]
            assert sum(driver.held) <= 80 * GB
            for driver.who, budget in enumerate(budgets):
                budget.worked(budget.tokens)
        assert budgets[0].tokens >= start
    assert leases.SHARED not in backbone.os.environ


@pytest.mark.parametrize("library", ["CUBLAS", "CUDNN"])
def test_a_library_of_the_gpu_without_room_is_out_of_memory(library):
    assert is_out_of_memory(RuntimeError(f"CUDA error: {library}_STATUS_ALLOC_FAILED when calling `create(handle)`"))
    assert not is_out_of_memory(RuntimeError(f"CUDA error: {library}_STATUS_EXECUTION_FAILED"))


def loaded(folder, dtype: str, **changes: object):
    return load_backbone(
        str(tiny_model(folder, **changes)), device="cpu", dtype=dtype, attention="promptpool_tree"
    ).model


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_rounding_over_many_layers_is_no_fault_of_the_mask(tmp_path, dtype):
    assert takes_trees(loaded(tmp_path, dtype, layers=28, initializer_range=0.1), 1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_small_fault_under_the_mask_is_found_whatever_the_number_type(tmp_path, dtype):
    """A model whose states depend a little on the place in the row, which the tree mask changes."""
    model = loaded(tmp_path, dtype)

    def by_place(_module, _args, states):
        return states + 1e-3 * torch.arange(states.shape[1], dtype=states.dtype)[:, None] * states.roll(1, -1)

    assert takes_trees(model, 1)
    model.get_input_embeddings().register_forward_hook(by_place)
    assert not takes_trees(model, 1)


@pytest.mark.parametrize(
    ("architecture", "changes", "layers"),
    [
        ("qwen3", {}, 1),
        ("gemma3", {"layer_types": [*["sliding_attention"] * 2, *["full_attention"] * 4]}, 3),
        ("gpt2", {}, 1),
    ],
)
def test_the_copy_has_a_layer_of_each_kind_and_leaves_the_model_as_it_is(tmp_path, architecture, changes, layers):
    model = loaded(tmp_path, "bfloat16", architecture=architecture, layers=6, **changes)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    small = small_copy(model)
    assert small.config.num_hidden_layers == layers and small.dtype == torch.float32
    assert len(small.get_input_embeddings().weight) == 16
    assert takes_trees(model, 350)
    assert model.config.num_hidden_layers == 6 and model.config._attn_implementation == "promptpool_tree"
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("when", ["small", "large"])
def test_what_is_halved_after_a_step_without_room_is_what_the_step_held(when):
    """Room for far more than a step holds is no room to give up first: a retry would then change nothing."""
    loss = InfoNCE(nn.Identity(), 0.1, live_tokens=10**6, chunk_tokens=4096)
    held = {"small": 0, "large": 12_000}[when]  # tokens of kept graphs, beside one chunk of 4,000
    loss._left, loss._largest = loss.live_tokens - held, (4_000, 40)
    assert loss.shrink()
    halved = (loss.live_tokens, loss.chunk.tokens)
    assert halved == {"small": (10**6, 2_000), "large": (6_000, 4096)}[when]
    for _ in range(200):
        loss.grow()
    grown = (loss.live_tokens, loss.chunk.tokens)
    assert grown == {"small": (10**6, 3_000), "large": (9_000, 4096)}[when]  # three quarters of what did not fit


def test_a_long_text_alone_is_not_halved_and_the_ladder_ends():
    loss = InfoNCE(nn.Identity(), 0.1, live_tokens=8_000, chunk_tokens=512)
    loss._left, loss._largest = 8_000, (4_096, 1)
    assert not loss.shrink()
    loss._left = 8_000 - 4_096
    assert loss.shrink() and loss.live_tokens == 2_048
    assert loss.chunk.tokens == 512


def test_a_step_that_never_fits_ends_after_few_tries():
    loss = InfoNCE(nn.Identity(), 0.1, live_tokens=10**6, chunk_tokens=16_384)
    tries = 0
    while loss.shrink():
        tries += 1
        assert tries < 40
        chunk = loss.chunk.tokens
        loss._left, loss._largest = max(0, loss.live_tokens - 200_000), (chunk, max(1, chunk // 50))
    assert loss.live_tokens == 0 and loss.chunk.tokens <= 256


def test_the_attention_is_one_that_the_model_has():
    kinds = {kind: tiny_config(kind) for kind in ("qwen3", "bloom")}
    chosen = {
        (kind, asked): supported_attention(config, asked)
        for kind, config in kinds.items()
        for asked in ("flash_attention_2", "sdpa", "eager", "promptpool_tree")
    }
    assert [chosen["qwen3", asked] for asked in ("flash_attention_2", "sdpa", "eager")] == [
        "flash_attention_2", "sdpa", "eager",
    ]  # fmt: skip
    assert [chosen["bloom", asked] for asked in ("flash_attention_2", "sdpa")] == ["eager", "eager"]
    assert chosen["bloom", "promptpool_tree"] == "promptpool_tree"
