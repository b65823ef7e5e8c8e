"""A server that has no text for some requests, each in its own way, for ever: those rows are lost, and no others.

Used by harness.py. The server runs in a process of its own; what it answers hangs on the prompt alone.

    lost row  every unanswered row has its own reason, all others the texts of an undisturbed server, and a later run
              with a server that answers all asks for none of them again
    named     too many of them in a row, or a refusal that meets all requests: one line, and the next run heals it
"""

import copy
import random
import subprocess
import sys
from pathlib import Path

import pandas as pd
from promptpool.pairs.styles import turns
from promptpool.study.study import Study

FAULT = "server's answers"
WORDING = {"chat": "Say it in other words: {text}"}


def _error(status: int, **fields: object) -> dict:
    return {"status": status, "content": {"error": {"message": "nein", **fields}}}


def _choice(content: object, **more: object) -> dict:
    finish = {"finish_reason": more.pop("finish_reason")} if "finish_reason" in more else {}
    return {"choice": {"message": {"role": "assistant", "content": content, **more}, **finish}}


# What a server answers -> the reason that the row has. `{good}` stands for a fit text, whose row has none.
KINDS = {
    "filter of the prompt": (_error(400, code="content_filter"), "filtered"),
    "filter of the text": (_choice("so far", finish_reason="content_filter"), "filtered"),
    "refusal without a name": ({"status": 400, "content": {"detail": "abgelehnt"}}, "refused"),
    "length, 422": ({"status": 422, "content": {"error": "`inputs` must have less than 512 tokens"}}, "refused"),
    "length, by its code": (_error(400, code="context_length_exceeded"), "too-long"),
    "length, 413": (_error(413), "too-long"),
    "moderation": (_error(403), "refused"),
    "refusal field": (_choice(None, refusal="I can't help with that."), "refusal"),
    "null": (_choice(None, finish_reason="stop"), "empty"),
    "no choice": ({"content": {"choices": []}}, "failed"),
    "crash": (500, "failed"),
    "thinks": (_choice("[THINK]never done", finish_reason="length"), "thinking"),
    "thinks in its field": (_choice(None, reasoning_content="never done", finish_reason="length"), "thinking"),
    "aloud": (_choice("Okay, the user wants me to say it in", finish_reason="length"), "thinking"),
    "cut": (_choice("It is said in other words, and then", finish_reason="length"), "cut"),
    "thought": (_choice("<think>\nhm\n</think>\n\n{good}"), None),
    "thought, gpt-oss": (
        _choice("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>{good}"), None,
    ),
    "thought, in parts": (
        _choice([{"type": "thinking", "thinking": []}, {"type": "text", "text": "{good}"}]), None,
    ),
    "cut at an end": (_choice("{good}", finish_reason="length"), None),
}  # fmt: skip
WHOLE = {
    "all filtered": lambda prompt: _error(400, code="content_filter") if "other words" in prompt else None,
    "all think": lambda prompt: _choice("[THINK]never done", finish_reason="length"),
    "all refused": lambda prompt: _error(400, param="top_p"),
    "all too long": lambda prompt: _error(422) if "other words" in prompt else None,
    "unknown model": lambda prompt: 404,
}


def good(prompt: str) -> str:
    return f"It has the number {random.Random(prompt).randrange(10**9)} among all that is said here."


def answer(seed: int, share: float, prompt: str) -> tuple[object, str | None]:
    """(the step of fake_openai that this prompt meets, the reason that its row has)."""
    draw = random.Random(f"{seed}\0{prompt}")
    if draw.random() >= share:
        return _choice(good(prompt)), None
    step, reason = KINDS[draw.choice(sorted(KINDS))]
    return _filled(step, good(prompt)), reason


def _filled(step: object, text: str) -> object:
    if isinstance(step, dict):
        return {name: _filled(value, text) for name, value in step.items()}
    if isinstance(step, list):
        return [_filled(value, text) for value in step]
    return step.replace("{good}", text) if isinstance(step, str) else step


def serve(what: str, seed: int, share: float) -> None:
    """Runs until it is ended. what: `rows`, or a name of WHOLE."""
    import time

    from fake_openai import fake_openai

    with fake_openai() as server:
        server.rule = WHOLE[what] if what in WHOLE else lambda prompt: answer(seed, share, prompt)[0]
        print(server.url, flush=True)
        time.sleep(600)


def writing(harness) -> object:
    """The job that writes pairs, each by one instruction to a server."""
    job = harness.writing("openai", {})
    config = copy.deepcopy(job.config)
    config["styles"] = {"asked": WORDING}
    config["pairs"]["written"]["styles"] = ["asked"]
    return _with(job, config)


def _with(job: object, config: dict) -> object:
    job, study = copy.copy(job), Study(config)
    job.config, job.params = config, copy.deepcopy(job.params)
    job.params.spec, job.params.model = study.pairs_spec("written"), study.pairs_model("written")
    job.params.execution = study.execution("pairs", "written")
    return job


def run(harness, tree: Path, what: str, seed: int, share: float) -> tuple[int, str]:
    command = [sys.executable, __file__, what, str(seed), str(share)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    job = writing(harness)
    job.params.execution["options"] |= {"url": child.stdout.readline().strip(), "key_variable": None, "retries": 1}
    try:
        return harness.run(job, tree)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def inject(harness, draw: random.Random) -> None:
    job, tree, seed = writing(harness), harness.tree(), draw.randrange(10**6)
    for path in (tree / job.output[0]).parent.glob("shards/*/*"):
        path.unlink()
    harness.clear(job, tree)
    if draw.random() < 0.3:
        return _whole(harness, job, tree, draw.choice(sorted(WHOLE)))
    code, told = run(harness, tree, "rows", seed, 0.25)
    fault = told if code else wrong(tree / job.output[0], seed, 0.25)
    if not fault:
        # A server that answers all: nobody is asked again, and nothing moves.
        harness.clear(job, tree)
        code, told = run(harness, tree, "rows", seed, 0.0)
        fault = told if code else wrong(tree / job.output[0], seed, 0.25)
    harness.note(FAULT, job, ("LOST" if code else "SILENT") if fault else "lost row", fault or "")


def _whole(harness, job, tree: Path, what: str) -> None:
    code, told = run(harness, tree, what, 0, 0.0)
    lines = [line for line in told.splitlines() if line.startswith("Error: ")]
    if code == 0 or len(lines) != 1:
        return harness.note(FAULT, job, "UNNAMED" if code else "SILENT", f"{what}: {told}")
    code, told = run(harness, tree, "rows", 0, 0.0)
    fault = told if code else wrong(tree / job.output[0], 0, 0.0)
    harness.note(FAULT, job, ("LOST" if code else "SILENT") if fault else "named", fault or "")


def wrong(path: Path, seed: int, share: float) -> str | None:
    """What is wrong with the written rows, None where each has what its prompt was answered."""
    (turn,) = turns(WORDING)
    for text, positive, reason in pd.read_parquet(path)[["text", "positive", "reason"]].itertuples(index=False):
        prompt = turn.replace("{text}", text)
        expected = answer(seed, share, prompt)[1]
        wanted = good(prompt) if expected is None else None
        reason = None if pd.isna(reason) else reason
        if reason != expected or (wanted is not None and positive != wanted):
            return f"{prompt!r}: {reason!r} and {positive!r}, not {expected!r} and {wanted!r}"
    return None


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
