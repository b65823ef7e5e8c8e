"""The one-pass engine: every prompt, pooling and layer of a family from a single forward pass."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from .backbone import Backbone, load_backbone
from .errors import PromptpoolError
from .forward import IMPLEMENTATION, hidden_states
from .packing import batches, pack
from .pooling import POOLINGS, pool
from .templates import Composer, Family, Template, families

Key = tuple[str, str, int]  # prompt, pooling, layer


class Embedder:
    """Text embeddings from a decoder under any prompts, poolings and layers.

    >>> embedder = Embedder.load("meta-llama/Llama-3.2-1B")             # doctest: +SKIP
    >>> embedder.grid(texts, {"none": "{text}"}, ["mean", "last"])      # doctest: +SKIP
    """

    def __init__(self, backbone: Backbone, max_text_tokens: int = 512, token_budget: int | None = None):
        self.backbone = backbone
        self.composer = Composer(backbone.tokenizer, max_text_tokens)
        self.token_budget = token_budget or (65_536 if backbone.device.type == "cuda" else 4_096)

    @classmethod
    def load(
        cls,
        model: str,
        adapter: str | None = None,
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        max_text_tokens: int = 512,
        token_budget: int | None = None,
    ) -> "Embedder":
        """model: directory or hub id; adapter: directory of LoRA weights, merged into the model."""
        backbone = load_backbone(model, revision, adapter, device=device, dtype=dtype, attention=IMPLEMENTATION)
        return cls(backbone, max_text_tokens, token_budget)

    def encode(
        self, texts: Sequence[str], prompt: str = "{text}", pooling: str = "mean", layer: int = -1
    ) -> np.ndarray:
        """One variant: float32 [n, dim]."""
        return self.grid(texts, {"prompt": prompt}, [pooling], [layer])["prompt", pooling, layer]

    def grid(
        self,
        texts: Sequence[str],
        prompts: Mapping[str, str],
        poolings: Sequence[str] = ("mean",),
        layers: Sequence[int] = (-1,),
        normalize: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[Key, np.ndarray]:
        """Vectors of every variant: {(prompt, pooling, layer): float32 [n, dim]}, in the order of `texts`.

        prompts: name -> template with one `{text}`. Equal texts are embedded once. `progress(done, total)`
        counts unique texts of the current family. Raises PromptpoolError for an unknown pooling, a text with
        no token to pool and a vector that is not finite.
        """
        unknown = [name for name in poolings if name not in POOLINGS]
        if unknown:
            raise PromptpoolError(f"poolings: unknown pooling {unknown[0]!r}; use one of {', '.join(POOLINGS)}")
        unique = list(dict.fromkeys(texts))
        place = {text: row for row, text in enumerate(unique)}
        order = [place[text] for text in texts]
        vectors: dict[Key, np.ndarray] = {}
        for family in families(prompts):
            vectors |= self._family(unique, family, poolings, layers, progress)
        if normalize:
            vectors = {key: v / np.linalg.norm(v, axis=1, keepdims=True) for key, v in vectors.items()}
        return {key: matrix[order] for key, matrix in vectors.items()}

    def _family(
        self,
        texts: Sequence[str],
        family: Family,
        poolings: Sequence[str],
        layers: Sequence[int],
        progress: Callable[[int, int], None] | None,
    ) -> dict[Key, np.ndarray]:
        composer = self.composer
        head = [*composer.bos_ids, *composer.piece(family.prefix)]
        trunks = [head + ids for ids in composer.texts(texts)]
        branches = [[*composer.piece(template.suffix), composer.eos_id] for template in family.templates]
        self._require_tokens(texts, trunks, branches, family.templates)
        extra = sum(map(len, branches))
        vectors: dict[Key, np.ndarray] = {}
        done = 0
        waiting = batches([len(trunk) + extra for trunk in trunks], self.token_budget)[::-1]
        while waiting:
            group = waiting.pop()
            try:
                pooled = self._batch([trunks[i] for i in group], branches, family.templates, poolings, layers)
            except torch.OutOfMemoryError:
                if len(group) == 1:
                    raise
                torch.cuda.empty_cache()
                waiting += [group[len(group) // 2 :], group[: len(group) // 2]]
                continue
            for key, rows in pooled.items():
                if key not in vectors:
                    vectors[key] = np.empty((len(texts), rows.shape[1]), dtype=np.float32)
                vectors[key][group] = rows
                self._require_finite(rows, group, texts, key)
            done += len(group)
            if progress:
                progress(done, len(texts))
        return vectors

    def _batch(
        self,
        trunks: list[list[int]],
        branches: list[list[int]],
        templates: Sequence[Template],
        poolings: Sequence[str],
        layers: Sequence[int],
    ) -> dict[Key, np.ndarray]:
        packed = pack(trunks, branches, self.composer.eos_id)
        device = self.backbone.device
        masks = {(b, eos): packed.branch_mask(b, eos) for b in range(len(branches)) for eos in (False, True)}
        rows = None
        if "attention" in poolings:
            lasts = [masks[b, False].long().cumsum(1).argmax(1) for b in range(len(branches))]
            rows = torch.stack(lasts, dim=1).to(device)
        states, attention = hidden_states(
            self.backbone.model,
            packed.ids.to(device),
            packed.positions.to(device),
            packed.allowed().to(device),
            layers,
            rows,
        )
        masks = {key: mask.to(device) for key, mask in masks.items()}
        return {
            (template.name, pooling, layer): pool(
                pooling,
                states[layer],
                masks[b, pooling == "eos"],
                attention[layer][:, b] if pooling == "attention" else None,
            )
            .cpu()
            .numpy()
            for b, template in enumerate(templates)
            for pooling in poolings
            for layer in layers
        }

    @staticmethod
    def _require_tokens(texts, trunks, branches, templates) -> None:
        for template, branch in zip(templates, branches, strict=True):
            for text, trunk in zip(texts, trunks, strict=True):
                if len(trunk) + len(branch) < 2:  # nothing but the EOS
                    raise PromptpoolError(
                        f"texts: {text!r} has no token under prompt {template.name!r}; drop empty texts"
                    )

    @staticmethod
    def _require_finite(rows: np.ndarray, group: Sequence[int], texts: Sequence[str], key: Key) -> None:
        bad = np.flatnonzero(~np.isfinite(rows).all(1))
        if len(bad):
            raise PromptpoolError(
                f"embedding {'/'.join(map(str, key))}: vector of {texts[group[bad[0]]][:80]!r} is not finite; "
                "use dtype float32"
            )
