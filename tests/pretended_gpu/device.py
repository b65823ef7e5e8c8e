"""A CUDA device that is not there: its tensors say cuda:0 and keep their values in CPU memory.

An operator that mixes devices raises, as on a GPU; so does an attention mask of another float type than the query. What
would make the host wait for the device is counted. A copy to the host that does not wait holds garbage until something
waits. The device has random numbers of its own. `out_of_memory` makes an operator of one's choice find no room.
Import this before torch: the guard (guard.cpp, built) must be loaded first, and PRETENDED_GUARD names it.
"""

import collections
import contextlib
import ctypes
import functools
import os
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from unittest import mock

ctypes.CDLL(os.environ["PRETENDED_GUARD"])

import torch  # noqa: E402
from torch.utils import checkpoint  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

aten = torch.ops.aten
INDEXING = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default}
COPIES = {aten.copy_.default, aten._to_copy.default}
MIXES = INDEXING | COPIES
SHAPED_BY_VALUES = {"nonzero", "masked_select", "_unique2", "unique_dim", "bincount"}
READS = {"_local_scalar_dense", "equal", "is_nonzero"}
MEMORY = 80 << 30
waits: collections.Counter[str] = collections.Counter()
_pinned: dict[int, torch.Tensor] = {}  # keeps them, so that no id is used twice
_coming: list[tuple[torch.Tensor, torch.Tensor]] = []  # copies to the host under way: where to, and what
_random: dict[str, torch.Tensor] = {}  # the state of the device's own generator
_full: list["_Full"] = []


class OnDevice(torch.Tensor):
    """A tensor of cuda:0. Its values are in `held`, on the CPU."""

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "OnDevice":
        with torch.inference_mode(False):
            made = torch.Tensor._make_wrapper_subclass(
                cls,
                held.size(),
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                device="cuda:0",
            )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    def __repr__(self) -> str:
        return f"OnDevice({self.held!r})"

    def numpy(self, *_args, **_more):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    def __array__(self, *_args, **_more):
        return self.numpy()

    def tolist(self) -> list:
        return self.detach().cpu().tolist()

    @property
    def data(self):
        return self.detach()

    @data.setter
    def data(self, value):
        torch.Tensor.data.__set__(self, value)
        self.held = value.held

    def __reduce_ex__(self, protocol):
        return self.held.detach().__reduce_ex__(protocol)

    def untyped_storage(self):
        return self.held.untyped_storage()

    def pin_memory(self):
        raise RuntimeError("cannot pin 'torch.cuda.FloatTensor': only dense CPU tensors can be pinned")


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _refuse_mixtures(func, args: tuple, kwargs: dict, there: list, here: list) -> None:
    """RuntimeError for an operator whose tensors are on two devices, and for a mask of another float type."""
    if there and func not in MIXES and any(x.dim() for x in here):
        raise RuntimeError(
            f"Expected all tensors to be on the same device: {func} got cuda:0 and cpu {[tuple(x.shape) for x in here]}"
        )
    if func in INDEXING and there and not isinstance(args[0], OnDevice):
        raise RuntimeError(f"indices should be on the indexed tensor's device (cpu): {func}")
    if func is aten._fused_sdp_choice.default:
        query, mask = args[0], args[3] if len(args) > 3 else kwargs.get("attn_mask")
        if mask is not None and mask.dtype not in (torch.bool, query.dtype):
            raise RuntimeError(f"Expected attn_mask dtype to be bool or the query's {query.dtype}, got {mask.dtype}")


def _count(func, args: tuple, kwargs: dict, there: list, here: list, lands: bool) -> None:
    if not there and not lands:
        return
    name = _name(func)
    if func is aten._to_copy.default:
        source = isinstance(args[0], OnDevice)
        early = kwargs.get("non_blocking") and (source or id(args[0]) in _pinned)
        if source != lands and not early:
            _wait("copy between host and device")
    elif func is aten.copy_.default:
        blocking = not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
        if isinstance(args[0], OnDevice) != isinstance(args[1], OnDevice) and args[1].dim() and blocking:
            _wait("copy between host and device")
    elif there and name in SHAPED_BY_VALUES | READS:
        _wait(name)
    elif func in INDEXING and any(x.dim() for x in here):
        _wait("index from the host")
    elif func in INDEXING and any(x is not None and x.dtype == torch.bool for x in args[1] or ()):
        _wait("index by a mask")


def _wait(reason: str) -> None:
    """The host waits for all that the device was given: copies under way arrive."""
    waits[reason] += 1
    _arrive()


def _arrive() -> None:
    with torch.inference_mode():
        while _coming:
            place, values = _coming.pop()
            place.copy_(values)


def _copied_later(func, args: tuple, kwargs: dict, out: torch.Tensor, lands: bool) -> None:
    """Garbage in `out`, a copy from the device that did not wait, until something waits."""
    if lands or func not in COPIES:
        return
    source = args[1] if func is aten.copy_.default else args[0]
    early = kwargs.get("non_blocking") or (func is aten.copy_.default and len(args) > 2 and args[2])
    if early and isinstance(source, OnDevice):
        _coming.append((out.detach(), out.detach().clone()))
        out.detach().fill_(float("nan") if out.is_floating_point() else 1)


class _Full:
    """An operator that finds no room at its calls number `first` to `first + times - 1`, from 0."""

    def __init__(self, name: str, first: int, times: float):
        self.name, self.first, self.times, self.calls, self.raised = name, first, times, 0, 0

    def meet(self, name: str) -> None:
        if name != self.name:
            return
        self.calls += 1
        if self.first < self.calls <= self.first + self.times:
            self.raised += 1
            raise torch.OutOfMemoryError(f"CUDA out of memory. Pretended, at call {self.calls} of {name}")


@contextlib.contextmanager
def out_of_memory(name: str, first: int = 0, times: float = 1) -> Iterator[_Full]:
    """Inside, the operator `name` (`mm`) raises at its call number `first` on the device, and at those that follow."""
    full = _Full(name, first, times)
    _full.append(full)
    try:
        yield full
    finally:
        _full.remove(full)


@contextlib.contextmanager
def _device_random() -> Iterator[None]:
    """Random operators on the device draw from its own generator."""
    host = torch.get_rng_state()
    torch.set_rng_state(_random["state"])
    try:
        yield
    finally:
        _random["state"] = torch.get_rng_state()
        torch.set_rng_state(host)


def _seed(seed: int) -> None:
    _random["state"] = torch.Generator().manual_seed(int(seed)).get_state()


@functools.cache
def _name(func) -> str:
    return func._schema.name.split("::")[1]


@functools.cache
def _made_of_others(func) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


@functools.cache
def _draws(func) -> bool:
    return torch.Tag.nondeterministic_seeded in func.tags


# Arguments of operators are tensors, lists of these, and what holds none. torch's own walk of such trees knows more
# containers, and took half of the time of all that runs on this device.
def _tensors(given: Iterable, found: list[torch.Tensor]) -> list[torch.Tensor]:
    for x in given:
        if isinstance(x, torch.Tensor):
            found.append(x)
        elif isinstance(x, list | tuple):
            _tensors(x, found)
    return found


def _held(x):
    if isinstance(x, OnDevice):
        return x.held
    if isinstance(x, list | tuple) and any(isinstance(one, torch.Tensor) for one in x):
        return [_held(one) for one in x]
    return x


def _on_device(out, known: dict[int, OnDevice]):
    if isinstance(out, torch.Tensor):
        return known[id(out)] if id(out) in known else OnDevice(out)
    return type(out)(_on_device(one, known) for one in out) if isinstance(out, list | tuple) else out


def _run(func, args: tuple, kwargs: dict):
    """One operator: checked, counted, computed on the CPU, and its results on the device that CUDA would give them."""
    if _made_of_others(func):
        with _Mode():  # inference mode hands these on whole
            return func.decompose(*args, **kwargs)
    tensors = _tensors(kwargs.values(), _tensors(args, []))
    there = [x for x in tensors if isinstance(x, OnDevice)]
    here = [x for x in tensors if not isinstance(x, OnDevice)]
    _refuse_mixtures(func, args, kwargs, there, here)
    device, lands = kwargs.get("device"), bool(there)
    if device is not None and torch.device(device).type != "meta":
        lands = torch.device(device).type == "cuda"
        kwargs = {**kwargs, "device": torch.device("cpu")}
    elif func is aten.copy_.default:
        lands = isinstance(args[0], OnDevice)
    elif _name(func) in READS:
        lands = False
    _count(func, args, kwargs, there, here, lands)
    if func is aten._fused_sdp_choice.default:
        return 0
    if func is aten._pin_memory.default:
        copy = args[0].clone()
        _pinned[id(copy)] = copy
        return copy
    if func is aten.is_pinned.default:
        return id(args[0]) in _pinned
    for full in _full if lands else ():
        full.meet(_name(func))
    plain = {key: _held(value) for key, value in kwargs.items() if key not in ("pin_memory", "non_blocking")}
    with _device_random() if lands and _draws(func) else contextlib.nullcontext():
        out = func(*[_held(x) for x in args], **plain)
    _copied_later(func, args, kwargs, out, lands)
    return _on_device(out, {id(x.held): x for x in there}) if lands else out


class Event:
    def __init__(self, *_args, **_more) -> None:
        pass

    def record(self, _stream=None) -> None:
        pass

    def synchronize(self) -> None:
        _wait("event")


def _same_parameters(plain):
    """`Module._apply` that leaves parameters that are where they should be as the objects that they are, as torch does.

    Otherwise an optimizer would hold parameters that the model has no longer.
    """

    def apply(self, function, recurse=True):
        own = list(self.parameters())
        if own and len({isinstance(x, OnDevice) for x in own}) == 1:
            moved = function(own[0])
            if (type(moved.data), moved.device, moved.dtype) == (type(own[0].data), own[0].device, own[0].dtype):
                return self
        return plain(self, function, recurse)

    return apply


@contextlib.contextmanager
def pretended_gpu() -> Iterator[collections.Counter]:
    """Inside, torch has one CUDA device of 80 GiB. Gives the counter of host waits, emptied."""
    properties = SimpleNamespace(total_memory=MEMORY, name="pretended", major=9, minor=0, multi_processor_count=1)
    # A function under two names breaks the table that torch._dynamo makes of torch when it is imported.
    fake = {
        "_lazy_init": lambda: None, "is_available": lambda: True, "Event": Event, "device_count": lambda: 1,
        "max_memory_reserved": lambda _=None: MEMORY // 20, "reset_peak_memory_stats": lambda _=None: None,
        "get_device_properties": lambda _=None: properties, "empty_cache": lambda: None,
        "get_device_name": lambda _=None: "pretended", "get_device_capability": lambda _=None: (9, 0),
        "mem_get_info": lambda _=None: (MEMORY, MEMORY), "memory_allocated": lambda _=None: 2 << 30,
        "memory_reserved": lambda _=None: 2 << 30, "max_memory_allocated": lambda _=None: 2 << 30,
        "is_bf16_supported": lambda *_, **__: True, "current_device": lambda: 0, "set_device": lambda _: None,
        "set_rng_state": lambda state, _=None: _random.update(state=state.clone()),
        "get_rng_state": lambda _=None: _random["state"].clone(),
        "get_rng_state_all": lambda: [_random["state"].clone()],
        "set_rng_state_all": lambda states: _random.update(state=states[0].clone()),
        "manual_seed_all": lambda seed: _seed(seed), "manual_seed": lambda seed: _seed(seed),
        "synchronize": lambda _=None: _arrive(),
        "is_initialized": lambda: True, "current_stream": lambda _=None: mock.MagicMock(),
        "_exchange_device": lambda _: 0, "_maybe_exchange_device": lambda _: 0,
    }  # fmt: skip
    future = torch.__future__
    with contextlib.ExitStack() as stack:
        for name, value in fake.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        for name in ("get_rng_state", "set_rng_state", "get_rng_state_all", "set_rng_state_all"):
            stack.enter_context(mock.patch.object(torch.cuda.random, name, fake[name]))
        stack.enter_context(mock.patch.object(checkpoint.DefaultDeviceType, "_default_device_type", "cuda"))
        stack.enter_context(mock.patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False))
        stack.enter_context(mock.patch.object(torch.nn.Module, "_apply", _same_parameters(torch.nn.Module._apply)))
        future.set_overwrite_module_params_on_conversion(True)
        stack.callback(future.set_overwrite_module_params_on_conversion, False)
        torch._C._set_only_lift_cpu_tensors(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, False)
        stack.enter_context(_Mode())
        waits.clear()
        _seed(0)
        yield waits
