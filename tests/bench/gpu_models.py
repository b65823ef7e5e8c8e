"""The models and the texts of bench_gpu: random weights in the shapes of real models, built in code, and docstrings.

Speed depends on shapes, not on what weights say, so that nothing has to come from a hub.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
import yaml
from promptpool.data.docstrings import read_docstrings
from promptpool.models.backbone import decoder_layers
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedConfig, Qwen3Config

ROOT = Path(__file__).parents[2]
NANO = ROOT / "workflow/resources/nano-docs"  # its tokenizer's ids are below 8,192, which both vocabularies hold
PACKAGES = ["matplotlib", "networkx", "numpy", "pandas", "scipy", "sklearn", "sympy"]
LONG_CHARACTERS = 2_500  # about 500 tokens: a text is cut at 512
TOY = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
       "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 8192}  # fmt: skip
SHAPES: dict[str, tuple[type[PreTrainedConfig], dict]] = {
    "Qwen3-0.6B": (
        Qwen3Config,
        {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
         "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936, "max_position_embeddings": 40_960},
    ),
    "Llama-3.2-1B": (
        LlamaConfig,
        {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
         "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128_256, "max_position_embeddings": 131_072},
    ),
}  # fmt: skip


def config_of(name: str, toy: bool = False) -> PreTrainedConfig:
    """A model's config, as its card gives the shape; toy: the same architecture at width 32."""
    kind, shape = SHAPES[name]
    own = {**shape, **TOY} if toy else shape
    return kind(**own, tie_word_embeddings=True, bos_token_id=None, eos_token_id=1, pad_token_id=1)


def build_model(folder: Path, name: str, toy: bool = False) -> Path:
    """Saves random bfloat16 weights, as a hub model comes, and the demo model's tokenizer; returns the folder."""
    path = folder / name
    if not (path / "tokenizer_config.json").exists():
        torch.manual_seed(0)
        dtype = torch.float32 if toy else torch.bfloat16
        AutoModelForCausalLM.from_config(config_of(name, toy), dtype=dtype).save_pretrained(path)
        AutoTokenizer.from_pretrained(NANO).save_pretrained(path)
    return path


def multiplied(model: nn.Module) -> int:
    """The weights that every token is multiplied by: those of the decoder layers. The embedding is looked up."""
    return sum(weight.numel() for weight in decoder_layers(model).parameters())


def peak_flops(device_name: str, gpus: Mapping | None = None) -> float | None:
    """A GPU's dense bfloat16 peak in FLOP/s, from workflow/promptpool/study/planning.yaml; None for one that it lacks.

    A name such as `NVIDIA H100 80GB HBM3` is matched by the first part of the file's names.
    """
    if gpus is None:
        gpus = yaml.safe_load((ROOT / "workflow/promptpool/study/planning.yaml").read_text(encoding="utf-8"))["gpus"]
    words = re.split(r"[\s\-_]+", device_name)
    return next((row["tflops"] * 1e12 for name, row in gpus.items() if name.partition("-")[0] in words), None)


def docstrings(toy: bool = False) -> pd.DataFrame:
    """Summaries and paragraphs of installed packages' docstrings, shuffled; toy: of one small package."""
    table = read_docstrings(["jinja2"] if toy else PACKAGES, workers=1 if toy else 8)
    table = table.drop_duplicates("summary").sample(frac=1, random_state=0)
    return table.head(96) if toy else table


def texts_of(table: pd.DataFrame, length: str) -> list[str]:
    """`short`: summary lines, about 15 tokens. `long`: paragraphs put together to about 500 tokens."""
    if length == "short":
        return table["summary"].tolist()
    texts, now = [], ""
    for paragraphs in table["paragraphs"]:
        now = f"{now}\n{paragraphs}" if now else paragraphs
        if len(now) >= LONG_CHARACTERS:
            texts.append(now)
            now = ""
    return texts or [now]


def pairs_of(table: pd.DataFrame, path: Path) -> Path:
    """A pair file of summaries and the paragraphs that follow them, as the paper's sentences are long."""
    rows = table[table["summary"] != table["paragraphs"]]
    positives = [
        paragraphs.removeprefix(summary).strip()
        for summary, paragraphs in zip(rows["summary"], rows["paragraphs"], strict=True)
    ]
    made = pd.DataFrame({"text": rows["summary"].to_numpy(), "positive": positives, "style": "halves"})
    made.assign(source_id=rows["id"].to_numpy())[made["positive"].str.len() > 0].to_parquet(path)
    return path
