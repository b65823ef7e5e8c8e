"""Real models and tokenizers small enough for a test: random weights, but far from degenerate."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

TEXTS = (
    "return the shortest path between two nodes",
    "a graph",
    "the weighted nodes of a graph are returned in order",
    "knead the dough and bake the bread in a hot oven",
    "the harbour lies north of the old town, behind the wall",
    "This sentence: belongs to the following cluster:",
)
EOS, BOS = "<|end|>", "<|start|>"
HIDDEN = 32
CHAT = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant]"


def tiny_tokenizer(texts: Sequence[str] = TEXTS, bos: bool = True, vocabulary: int = 340) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on `texts`; any string has ids. With `bos` it puts a BOS before a text."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[EOS, BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(list(texts) * 3, trainer)
    if bos:
        bpe.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 1)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=EOS, bos_token=BOS if bos else None)


def tiny_config(architecture: str = "qwen3", layers: int = 2, **changes: object) -> PreTrainedConfig:
    """The config of a model of width 32; `changes` are keys of that architecture's own config."""
    common = {"vocab_size": 400, "eos_token_id": 0, "bos_token_id": 1, "pad_token_id": None, "initializer_range": 0.3}
    llama = {
        "hidden_size": HIDDEN, "intermediate_size": 48, "num_hidden_layers": layers, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8,
    }  # fmt: skip
    if architecture == "gpt2":
        own = {"n_embd": HIDDEN, "n_layer": layers, "n_head": 4, "n_inner": 48, "n_positions": 1024}
        own |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    elif architecture == "bloom":
        own = {"hidden_size": HIDDEN, "n_layer": layers, "n_head": 4}
    elif architecture == "mamba":
        own = {"hidden_size": HIDDEN, "num_hidden_layers": layers, "state_size": 4, "use_mambapy": False}
    elif architecture == "gpt_neox":
        own = {key: value for key, value in llama.items() if key not in ("num_key_value_heads", "head_dim")}
    else:
        own = llama
    kinds = {"qwen3": Qwen3Config, "llama": LlamaConfig, "mistral": MistralConfig}
    kinds |= {"gpt2": GPT2Config, "gpt_neox": GPTNeoXConfig, "gemma2": Gemma2Config, "gemma3": Gemma3TextConfig}
    kinds |= {"bloom": BloomConfig, "mamba": MambaConfig}
    return kinds[architecture](**{**common, **own, **changes})


def tiny_model(
    folder: Path,
    architecture: str = "qwen3",
    *,
    texts: Sequence[str] = TEXTS,
    bos: bool = True,
    chat: bool = False,
    seed: int = 0,
    layers: int = 2,
    **changes: object,
) -> Path:
    """Saves a causal LM (float32) and its tokenizer into `folder`, as a hub model comes, and returns the folder.

    chat: whether the tokenizer has a chat template; changes: further keys of the architecture's config.
    """
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(architecture, layers, **changes), dtype=torch.float32)
    model.eval().save_pretrained(folder)
    tokenizer = tiny_tokenizer(texts, bos)
    if chat:
        tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    return Path(folder)


def tiny_adapter(
    folder: Path, model: Path, *, seed: int = 0, scale: float = 0.3, targets: Sequence[str] = ("q_proj", "v_proj")
) -> Path:
    """Saves LoRA weights of rank 4 for `model`, as training does; the second factor is `scale` x noise (0: zero)."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    torch.manual_seed(seed)
    config = LoraConfig(task_type="FEATURE_EXTRACTION", r=4, lora_alpha=8, target_modules=list(targets))
    tuned = get_peft_model(AutoModel.from_pretrained(model, dtype=torch.float32), config)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn_like(weight) * scale)
    tuned.save_pretrained(folder)
    return Path(folder)
