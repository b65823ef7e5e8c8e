"""The program inside the interpreter that has vLLM: requests in as JSON lines, texts out as JSON lines.

vllm_backend starts it by file path. This folder's modules import only the standard library, torch, vLLM and each other,
because nothing else of promptpool needs to be installed there. Each line is one message:

    in   {"open": {settings}}   {"write": [[text, chat, seed], ...]}   {"close": true}
    out  {"ready": {facts}}     {"done": [[index, text, prompt_tokens, tokens, finished], ...]}   {"error": "..."}
"""

import json
import os
import queue
import signal
import sys
import threading
import time
from typing import Any, BinaryIO

REQUESTS_HELD = 2048  # requests the engine holds at once: more than it can batch, so it is never idle
REPORT_EVERY = 0.2  # seconds between two reports of finished texts
GRACE = 15  # seconds that a parent waits for the engine to shut down


def main() -> None:
    """Serves one parent until it sends close. Ends with all its processes when the parent dies."""
    # The pipes get their own file numbers, so that nothing that vLLM or a library prints mixes with the messages.
    inbound, outbound = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    messages: queue.Queue = queue.Queue()
    threading.Thread(target=_read, args=(inbound, messages), daemon=True).start()
    try:
        engine = Engine(messages.get()["open"])
        _say(outbound, {"ready": engine.facts})
        while "write" in (message := messages.get()):
            engine.write(message["write"], lambda done: _say(outbound, {"done": done}))
    except Exception as error:
        _say(outbound, {"error": f"{type(error).__name__}: {error}"})
        raise


def _read(pipe: BinaryIO, messages: queue.Queue) -> None:
    """Reads in a separate thread, so that the parent's death is noticed in the middle of a long write."""
    for line in pipe:
        messages.put(json.loads(line))
    # A closed pipe means that the parent is gone. The engine's own processes are in this group.
    os.killpg(0, signal.SIGKILL)


class Engine:
    """vLLM's engine and its tokenizer, with one set of sampling settings."""

    def __init__(self, settings: dict[str, Any]):
        from vllm import LLM
        from vllm.platforms import current_platform

        on_cpu = current_platform.is_cpu()
        if settings["device"] == ("cuda" if on_cpu else "cpu"):
            raise ValueError(f"this vLLM is a {'CPU' if on_cpu else 'GPU'} build, and device is {settings['device']}")
        dtype = settings["dtype"]
        if dtype == "auto":
            dtype = "float32" if on_cpu else "bfloat16"
        place: dict[str, Any] = {"gpu_memory_utilization": settings["gpu_memory"]}
        if on_cpu:
            # Chunked prefill of a cut prompt takes back a random draw, which a CPU generator can't do (vLLM 0.32).
            place = {
                "kv_cache_memory_bytes": int(settings["kv_cache_gib"] * 2**30),
                "enable_chunked_prefill": False,
            }
        self.sampling = {
            "max_tokens": settings["max_new_tokens"],
            "temperature": settings["temperature"],
            "top_p": settings["top_p"],
        }
        random = self.sampling["temperature"] > 0
        self.draws = random and first_runner()
        if self.draws:
            # By name: each process that vLLM starts looks it up again (see __getattr__).
            place["logits_processors"] = [f"vllm_worker:{seeded_draws().__name__}"]
        self.marks, self.dropped = set(settings["marks"]), set(settings["dropped"])
        eager = settings["enforce_eager"]
        self.llm = LLM(
            model=settings["model"],
            revision=settings["revision"],
            tokenizer_revision=settings["revision"],
            tokenizer_mode="hf",
            load_format="safetensors",  # else vLLM loads a pickle if there are no safetensors
            dtype=dtype,
            seed=0,  # every request has its own seed
            tensor_parallel_size=settings["tensor_parallel"],
            max_model_len=settings["max_model_len"] or -1,  # -1: as long as memory allows
            enable_prefix_caching=settings["prefix_caching"],
            enforce_eager=on_cpu if eager is None else eager,
            **place,
        )
        if random and not (self.draws or self.llm.llm_engine.vllm_config.use_v2_model_runner):
            print(
                "vLLM took its V1 model runner though its V2 runner could run, so it draws by its own seeds, row by "
                "row, which is slow; set VLLM_USE_V2_MODEL_RUNNER=0 to draw all rows at once",
                file=sys.stderr,
                flush=True,
            )
        self.tokenizer = self.llm.get_tokenizer()
        self.context = self.llm.llm_engine.model_config.max_model_len
        self.facts = {"device": "cpu" if on_cpu else "cuda", "dtype": dtype, "max_model_len": self.context}
        if random:
            self.facts["draws"] = "seeded_draws" if self.draws else "vLLM"

    def write(self, requests: list[list], report) -> None:
        """Runs all requests in one batch that is refilled continuously. `report` gets texts as they finish."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        core, done = self.llm.llm_engine, []
        waiting, reported = 0, time.monotonic()
        prompts = enumerate(self._prompts(requests))
        more = True
        while more or waiting:
            while more and waiting < REQUESTS_HELD:
                number, ids = next(prompts, (None, None))
                if number is None:
                    more = False
                elif not ids or len(ids) + self.sampling["max_tokens"] > self.context:
                    done.append([number, "", len(ids), 0, False])  # does not fit the model: only this row is lost
                else:
                    how = self._sampling(requests[number][2])
                    params = SamplingParams(output_kind=RequestOutputKind.FINAL_ONLY, **how)
                    core.add_request(str(number), {"prompt_token_ids": ids}, params)
                    waiting += 1
            for output in core.step() if waiting else ():
                if output.finished:
                    waiting -= 1
                    best = output.outputs[0]
                    done.append([
                        int(output.request_id), self._text(best), len(output.prompt_token_ids), len(best.token_ids),
                        best.finish_reason != "length",
                    ])  # fmt: skip
            if done and (time.monotonic() - reported > REPORT_EVERY or not (more or waiting)):
                report(done)
                done, reported = [], time.monotonic()

    def _sampling(self, seed: int) -> dict[str, Any]:
        """A request's settings. Where seeded_draws draws, vLLM itself takes the highest score."""
        if not self.draws:
            return {"seed": seed, **self.sampling}
        steps, how = self.sampling["max_tokens"], ("temperature", "top_p")
        draw = {"seed": seed, "steps": steps, **{key: self.sampling[key] for key in how}}
        return {"temperature": 0, "max_tokens": steps, "extra_args": {"draw": draw}}

    def _text(self, output: Any) -> str:
        """A finished text without special tokens, except those that mark thinking (their ids come with `open`)."""
        if self.marks.isdisjoint(output.token_ids):
            return output.text
        ids = [token for token in output.token_ids if token not in self.dropped]
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def _prompts(self, requests: list[list], together: int = 256):
        """Token ids for each request, made a few hundred at a time so that the engine starts at once."""
        for start in range(0, len(requests), together):
            chunk = requests[start : start + together]
            texts = [self._rendered(text) if chat else text for text, chat, _ in chunk]
            chats = [chat for _, chat, _ in chunk]
            for text, chat in zip(texts, chats, strict=True):
                # A chat template adds its own BOS.
                yield self.tokenizer(text, add_special_tokens=not chat)["input_ids"]

    def _rendered(self, text: str) -> str:
        return self.tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=False
        )


def first_runner() -> bool:
    """Whether vLLM 0.32 will take its V1 model runner: without Triton, as on a CPU, or where the user asks for it."""
    from vllm import envs
    from vllm.triton_utils import HAS_TRITON

    second = getattr(envs, "VLLM_USE_V2_MODEL_RUNNER", False)  # versions without it have no other runner
    return not (HAS_TRITON if second is None else second)


def seeded_draws() -> type:
    """A logits processor for vLLM's V1 model runner (vLLM 0.32): it leaves a row the token it draws.

    That runner draws row by row as soon as requests have seeds of their own, from noise for the whole vocabulary; on a
    CPU its top-p sorts the vocabulary of every row, and on a GPU seeds switch FlashInfer's sampler off. Here requests
    are greedy for vLLM, and a step draws all rows at once from the likeliest tokens, by the same numbers as the
    transformers backend. The V2 runner refuses this processor, and has no need of it: it draws all rows in one kernel,
    by seeds that lie on the device, so that seeds are left to it there.
    """
    import torch
    from seeded_draws import drawn, only, uniforms  # this folder is on the path
    from vllm.v1.sample.logits_processor import LogitsProcessor, process_dict_updates

    def row(params: Any, prompt_ids: object, output_ids: list[int]) -> tuple | None:
        """(its numbers, the list of its new tokens, how to draw); None for a request without a draw."""
        asked = (params.extra_args or {}).get("draw")
        if asked is None:
            return None
        return uniforms(asked["seed"], asked["steps"]).tolist(), output_ids, (asked["temperature"], asked["top_p"])

    class SeededDraws(LogitsProcessor):
        def __init__(self, config: object, device: torch.device, is_pin_memory: bool):
            self.device, self.pinned, self.rows = device, is_pin_memory, {}

        def is_argmax_invariant(self) -> bool:
            return False  # or vLLM would not ask it for requests that are greedy

        def update_state(self, batch_update: Any) -> None:
            process_dict_updates(self.rows, batch_update, row)

        def apply(self, logits: torch.Tensor) -> torch.Tensor:
            """logits: [rows, vocabulary], as the model returns them. Returns the same shape; greedy requests stay."""
            if not self.rows:
                return logits
            places = sorted(self.rows)
            # vLLM appends a row's tokens to this list: its length is the step, also for a request that came back.
            numbers = [self.rows[place][0][len(self.rows[place][1])] for place in places]
            how = self.rows[places[0]][2]  # one engine has one temperature and top-p
            aims = torch.tensor(numbers, dtype=torch.float64, pin_memory=self.pinned)
            aims = aims.to(self.device, non_blocking=True)
            if len(places) == logits.shape[0]:
                return only(logits, drawn(logits, aims, *how))
            part = logits[places]
            logits[places] = only(part, drawn(part, aims, *how))
            return logits

    return SeededDraws


def __getattr__(name: str) -> type:
    """vLLM looks its processors up by the names of module and class, in each of its processes."""
    if name == "SeededDraws":
        return seeded_draws()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _say(pipe: BinaryIO, message: dict) -> None:
    pipe.write(json.dumps(message).encode() + b"\n")
    pipe.flush()


if __name__ == "__main__":
    main()
    sys.stdout.flush()
