"""What a GPU's driver can answer, and what is done then. No GPU is needed: the answers are given here."""

from types import SimpleNamespace

import pytest
import torch
from promptpool import backbone, leases
from promptpool.backbone import load_backbone, pick_device
from promptpool.budget import TokenBudget, is_device_fault
from promptpool.errors import PromptpoolError
from promptpool.family_batches import to_host
from promptpool.leases import LENT, leased, visible_devices
from promptpool.lora import memory
from promptpool.passes import TreePass, takes_trees
from tiny import tiny_model

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
    with leased(1), pytest.raises(PromptpoolError, match="lent GPU 0, and CUDA does not see it: this torch is a build"):
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
    to_host({0: found})()
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
