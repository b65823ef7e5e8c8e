"""A tiny config of any architecture: its default one, with every size that has a known meaning made small."""

from collections.abc import Mapping
from pathlib import Path

import torch
from tiny import tiny_tokenizer
from tokenizers.normalizers import NFC
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedConfig

WIDTH, LAYERS, HEADS, KV_HEADS, HEAD, INNER, VOCABULARY, POSITIONS = 32, 2, 4, 2, 8, 48, 400, 256
MOST = 20_000_000  # parameters of a tiny model
SIZES = [
    (
        WIDTH,
        "hidden_size d_model n_embd dim embed_dim word_embed_proj_dim embedding_size lru_width attention_hidden_size "
        "d_embed emb_dim vision_hidden_size projection_dim out_hidden_size text_hidden_size projector_hidden_size "
        "attn_out_dim hidden_size_per_layer output_dim encoder_width mm_hidden_size qk_dim",
    ),
    (
        LAYERS,
        "num_hidden_layers n_layer num_layers n_layers decoder_layers encoder_layers depth num_blocks "
        "num_decoder_layers num_encoder_layers num_hidden_layers_vision vision_layers num_global_layers",
    ),
    (
        HEADS,
        "num_attention_heads n_head num_heads n_heads decoder_attention_heads encoder_attention_heads "
        "num_linear_attention_heads attention_heads num_attention_heads_vision linear_num_value_heads "
        "swa_num_attention_heads index_n_heads",
    ),
    (KV_HEADS, "num_key_value_heads kv_n_heads swa_num_key_value_heads linear_num_key_heads num_kv_heads n_kv_heads"),
    (
        HEAD,
        "head_dim d_head attention_head_dim qk_rope_head_dim qk_nope_head_dim v_head_dim kv_channels "
        "linear_key_head_dim linear_value_head_dim d_kv swa_head_dim swa_v_head_dim dim_head index_head_dim "
        "linear_head_dim kv_lora_rank q_lora_rank global_head_dim kda_head_dim mamba_d_head mamba_head_dim "
        "ssm_head_dim",
    ),
    (
        INNER,
        "intermediate_size ffn_dim n_inner d_inner inner_dim feed_forward_size ffn_hidden_size dim_ff "
        "decoder_ffn_dim encoder_ffn_dim mlp_dim d_ff block_ff_dim intermediate_size_mlp shared_intermediate_size "
        "dense_intermediate_size feed_forward_proj_dim",
    ),
    (
        16,
        "moe_intermediate_size shared_expert_intermediate_size moe_shared_expert_intermediate_size "
        "expert_ffn_hidden_size moe_shared_intermediate_size n_experts_hidden hidden_size_per_layer_input "
        "routed_expert_intermediate_size shared_experts_intermediate_size moe_hidden_size",
    ),
    (VOCABULARY, "vocab_size decoder_vocab_size vocab_size_per_layer_input text_vocab_size audio_vocab_size"),
    (POSITIONS, "max_position_embeddings n_positions n_ctx max_seq_len max_seq_length seq_length max_sequence_length"),
    (
        4,
        "num_local_experts num_experts n_routed_experts moe_num_experts num_routed_experts state_size ssm_state_size "
        "mamba_d_state mamba_d_conv conv_kernel linear_conv_kernel_dim n_experts num_moe_experts "
        "moe_num_routed_experts",
    ),
    (64, "index_topk"),
    (2, "num_experts_per_tok moe_top_k moe_k num_experts_per_token experts_per_token top_k_experts"),
    (
        1,
        "first_k_dense_replace n_group topk_group num_shared_experts n_shared_experts moe_num_shared_experts n_groups "
        "mamba_n_groups ssm_n_groups num_memory_blocks num_nextn_predict_layers num_expert_groups",
    ),
]
SMALL = {name: size for size, names in SIZES for name in names.split()}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 0}
DERIVED = ("layer_types", "mlp_layer_types", "attention_layers", "layers_block_type", "num_attention_heads_per_layer")
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 4, "mamba_chunk_size": 16}
_MLA = {"num_key_value_heads": HEADS}  # keys and values come from one latent vector, for every head
_HYBRID = {"layer_types": ["linear_attention", "full_attention"]}
_INDEXED = {
    "layer_types": ["linear_attention", "indexed_attention"],
    "indexer_n_heads": 4,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 8,
    "indexer_budget": 8,
    "indexer_compress_ratio": 2,
    "ngram_vocab_size_base": 100,
    "hc_lowrank": 4,
    "ple_embed_dim": 8,
    "make_ngram_vocab_size_divisible_by": 4,
    "split_ngram_parts": 2,
}


def _mrope(*sections: int) -> dict:
    """Rotary positions of time, height and width, of half a small head."""
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": list(sections)}}


OWN: dict[str, dict] = {
    **dict.fromkeys(
        ("axk1", "axk2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa", "longcat_flash"),
        _MLA,
    ),
    **dict.fromkeys(("minicpm3", "youtu", "dots3_note_text", "mistral_large4_text", "unlimited_ocr_text"), _MLA),
    **dict.fromkeys(("qwen2_vl_text", "qwen2_5_vl_text", "qwen2_5_omni_text", "paddleocr_vl_text"), _mrope(2, 1, 1)),
    **dict.fromkeys(("glm4v_text", "glm_ocr_text"), _mrope(2, 1, 1)),
    "glm4v_moe_text": _mrope(1, 1, 0),
    "bailing_hybrid": {
        **_MLA, **_HYBRID, "num_expert_group": 2, "linear_num_heads": 4, "mlp_layer_types": ["dense", "sparse"],
    },
    "kimi_linear": {**_MLA, **_HYBRID, "linear_num_heads": 4, "mlp_layer_types": ["dense", "sparse"]},
    "codegen": {"rotary_dim": 4},
    "gptj": {"rotary_dim": 4},
    "qwen4_exp_text": _INDEXED,
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "xlm": {"causal": True},
    "xlstm": {"hidden_size": 128, "embedding_dim": 128, "num_heads": 2},
    "bamba": {**_MAMBA, "attn_layer_indices": [1]},
    "blt": {"encoder_hash_byte_group_vocab": 50},
    "cohere_compass_text": {
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 10000.0} for kind in ("full_attention", "sliding_attention")
        }
    },
    "chameleon": {"vocabulary_map": {"<image>": 300}},
    "emu3": {"vocabulary_map": {"<image>": 300}},
    "ernie4_5_vl_moe_text": {"moe_intermediate_size": [16, 16]},
    "hunyuan_vl_text": {**_mrope(2, 1, 1), "head_dim": 8},
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "clip_qkv": 8.0}},
    "lfm3": {"layer_types": ["conv", "full_attention"]},
    "deepseek_v2": {**_MLA, "num_experts_per_tok": 2},
    "dots1": {
        "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "layer_types": ["full_attention"] * 2,
    },
    "falcon_h1": {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 4, "mamba_chunk_size": 16, "mamba_d_ssm": 64},
    "gemma3n_text": {
        "intermediate_size": [48] * 4, "num_hidden_layers": 4, "num_kv_shared_layers": 0, "laurel_rank": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2, "activation_sparsity_pattern": [0.0] * 4,
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {**_MAMBA, "layer_types": ["linear_attention", "full_attention"]},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8, "num_experts": 4, "moe_topk": 2},
    "jamba": {
        "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1,
        "mamba_dt_rank": 4,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "mamba2": {"num_heads": 8, "head_dim": 8, "chunk_size": 16, "n_groups": 1},
    "ministral": {"head_dim": 8},
    "mistral4": {**_MLA, "head_dim": 16},
    "nemotron": {"num_key_value_heads": 2},
    "step3p7": {"text_config": {"sliding_window": 8}},
    "reformer": {"is_decoder": True, "axial_pos_embds_dim": [8, 24], "axial_pos_shape": [16, 16]},
    "zamba": {
        "num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_dt_rank": 4, "n_mamba_heads": 2,
        "attention_hidden_size": 64, "attention_head_dim": 16, "num_key_value_heads": 4, "use_mamba_kernels": False,
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
    },
    "zamba2": {
        "num_hidden_layers": 4, "layers_block_type": ["linear_attention", "hybrid"] * 2, "mamba_d_state": 4,
        "n_mamba_heads": 8, "mamba_headdim": 8, "chunk_size": 16, "num_key_value_heads": 4, "attention_hidden_size": 64,
        "attention_head_dim": 16, "kv_channels": 16, "use_mamba_kernels": False, "adapter_rank": 4,
    },
}  # fmt: skip


class CannotBeTiny(Exception):  # noqa: N818 (a finding, no fault)
    """Why no tiny model of an architecture could be made."""


def shrunk(config: PreTrainedConfig) -> dict:
    """The settings that make `config` small, those of its parts included."""
    found: dict[str, object] = {}
    known = config.to_dict()
    for name, value in known.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        if name in SMALL and (whole or name in ("vocab_size",)):
            found[name] = min(SMALL[name], value) if whole and value > 0 and "vocab" not in name else SMALL[name]
        elif name in IDS and value is not None:
            found[name] = IDS[name]
    kinds = known.get("layer_types")
    if isinstance(kinds, list) and "linear_attention" in kinds and "full_attention" in kinds:
        found["layer_types"] = ["linear_attention", "full_attention"]
    rope = known.get("rope_parameters")
    if isinstance(rope, dict) and rope.get("mrope_section"):
        found["rope_parameters"] = {
            **rope,
            "mrope_section": [1, 1, 0] if "partial_rotary_factor" in rope else [2, 1, 1],
        }
    for name in config.sub_configs:
        part = getattr(config, name, None)
        if isinstance(part, PreTrainedConfig):
            found[name] = {"model_type": part.model_type, **shrunk(part)}
    return merged(found, OWN.get(config.model_type, {}))


def merged(into: dict, more: Mapping) -> dict:
    """`into` with the settings of `more`, part by part."""
    for name, value in more.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            merged(into[name], value)
        else:
            into[name] = value
    return into


def tiny_config(kind: str, **changes: object) -> PreTrainedConfig:
    """A tiny config of an architecture. CannotBeTiny where its own checks, or its size, forbid it."""
    try:
        return AutoConfig.for_model(kind, **merged(shrunk(AutoConfig.for_model(kind)), changes))
    except Exception as error:  # whatever its own checks raise
        raise CannotBeTiny(" ".join(str(error).split())[:160]) from None


def tiny_architecture(folder: Path, config: PreTrainedConfig, seed: int = 0) -> Path:
    """Saves a model of a tiny config and a tokenizer, as a hub model comes, and returns the folder.

    Its weights are random, and large enough that every layer changes what passes through it. CannotBeTiny names the
    reason where none can be made.
    """
    torch.manual_seed(seed)
    mapping = (AutoModelForImageTextToText, AutoModelForCausalLM)  # of a model that sees, the whole
    maker = next((auto for auto in mapping if type(config) in auto._model_mapping), AutoModel)
    try:
        with torch.device("meta"):
            parameters = sum(weight.numel() for weight in maker.from_config(config).parameters())
        if parameters > MOST:
            raise CannotBeTiny(f"{parameters / 1e6:.0f} M parameters at the least")
        model = maker.from_config(config, dtype=torch.float32)
        enliven(model)
        model.eval().save_pretrained(folder)
    except CannotBeTiny:
        raise
    except Exception as error:
        raise CannotBeTiny(" ".join(str(error).split())[:160] or type(error).__name__) from None
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = NFC()  # as some architectures' tokenizers have, whatever their file says
    tokenizer.save_pretrained(folder)
    return folder


@torch.no_grad()
def enliven(model: nn.Module) -> None:
    """Matrices such that a layer's output is as large as its input; an initialisation of 0.02 hides faults."""
    for name, weight in model.named_parameters():
        if name.endswith("weight") and weight.dim() == 2:
            wide = "embed" in name or "wte" in name
            weight.normal_(0, 1.0 if wide else weight.shape[1] ** -0.5)
        elif name.endswith("norm.weight"):
            weight.add_(torch.randn_like(weight), alpha=0.2)  # one that is lost is as it was before
