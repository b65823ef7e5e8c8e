"""The one-pass engine: every prompt, pooling and layer of a family from a single forward pass."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch

from ..errors import PromptpoolError
from ..models.backbone import Backbone, load_backbone
from ..models.decoder import decoder_layers
from ..models.precision import Precision
from ..templates import Composer, Family, families
from ..variants import Key, Layer, key_text, layer_number, split_pooling
from .batches import FamilyBatches, TreeWork
from .buffers import Buffers
from .family_pooling import Readout
from .forward_passes import Layout
from .guards import alike, require_finite, require_tokens, same_everywhere
from .packing import Trunk, plant
from .token_budget import TokenBudget
from .tree_attention import IMPLEMENTATION

TextsDone = Callable[[int, int], None]
Chunk = tuple[range, dict[Key, np.ndarray]]  # which texts, and their vectors
END_POOLINGS = ("last", "eos")  # poolings that read the prompt's last token alone
SHARED_FROM = 4  # a shorter head costs less when repeated in every text than as shared keys
CHUNK_BYTES, CHUNK_MOST = 64 * 2**20, 256 * 2**20  # small arrays are soon used again, and fresh ones are slow
CHUNK_TEXTS = 1_024  # enough for full batches and tiles
SAMPLE = 256  # texts whose tokens say how many all have
SLACK = 0.01  # padding a tile may hold on a GPU, where many small calls cost more than the padding


class Embedder:
    """Text embeddings from a decoder under any prompts, poolings and layers.

    >>> embedder = Embedder.load("meta-llama/Llama-3.2-1B")             # doctest: +SKIP
    >>> embedder.grid(texts, {"none": "{text}"}, ["mean", "last"])      # doctest: +SKIP
    """

    def __init__(
        self,
        backbone: Backbone,
        max_text_tokens: int = 512,
        token_budget: int | None = None,
        tokenization: str = "composed",
        text_normalisation: str = "none",
        fuse: bool | None = None,
    ):
        self.backbone = backbone
        self.composer = Composer(backbone.tokenizer, max_text_tokens, text_normalisation)
        self.joint, self.fuse = tokenization == "joint", fuse
        budget = TokenBudget.for_device(backbone.device, token_budget)
        self.batches = FamilyBatches(backbone.model, self.composer.eos_id, budget, backbone.precision)

    @classmethod
    def load(
        cls,
        model: str,
        adapter: str | None = None,
        *,
        revision: str | None = None,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | Precision = "auto",
        max_text_tokens: int = 512,
        token_budget: int | None = None,
        tokenization: str = "composed",
        text_normalisation: str = "none",
        fuse: bool | None = None,
        causal: bool = True,
    ) -> "Embedder":
        """A model and an adapter merged into it.

        model: directory or hub id; adapter: directory of LoRA weights; device, dtype: names, or torch's own objects;
        dtype `auto`: see precision; token_budget: tokens per batch, None to let the device's memory decide;
        tokenization: `composed`, or the paper's `joint` (a pass for each prompt, not exportable);
        text_normalisation: see templates.normalised; fuse: whether the layers are compiled, None to do it on a GPU
        where the texts are worth it. It changes vectors by rounding alone. causal: false removes the causal mask.
        """
        how = {"attention": IMPLEMENTATION if causal else "sdpa", "causal": causal}
        backbone = load_backbone(model, revision, adapter, device=device, dtype=dtype, **how)
        return cls(backbone, max_text_tokens, token_budget, tokenization, text_normalisation, fuse)

    @property
    def exportable(self) -> bool:
        """Whether a plain tokenizer can reproduce the model's input."""
        return not self.joint and self.composer.text_normalisation == "none"

    def encode(
        self, texts: Sequence[str], prompt: str = "{text}", pooling: str = "mean", layer: Layer = -1
    ) -> np.ndarray:
        """One variant: float32 [n, dim]."""
        return self.grid(texts, {"prompt": prompt}, [pooling], [layer])["prompt", pooling, layer]

    def grid(
        self,
        texts: Sequence[str],
        prompts: Mapping[str, str],
        poolings: Sequence[str] = ("mean",),
        layers: Sequence[Layer] = (-1,),
        normalize: bool = False,
        progress: TextsDone | None = None,
    ) -> dict[Key, np.ndarray]:
        """Vectors of every variant: {(prompt, pooling, layer): float32 [n, dim]}, in the order of `texts`.

        prompts: name -> template with `{text}` once, or twice to echo; poolings: `mean`, `mean:text`...
        (variants.POOLING_KEYS); layers: -1 the last, 0 the embeddings, 0.5 half the depth. Equal texts are embedded
        once. `progress(done, total)` counts unique texts. Raises PromptpoolError for an unknown pooling, a text with
        no token to pool and a vector that is not finite.
        """
        unique = list(dict.fromkeys(texts))
        place = {text: row for row, text in enumerate(unique)}
        order = [place[text] for text in texts]
        vectors: dict[Key, np.ndarray] = {}
        for rows, part in self.chunks(unique, prompts, poolings, layers, progress=progress):
            for key, matrix in part.items():
                if key not in vectors:
                    vectors[key] = np.empty((len(unique), matrix.shape[1]), dtype=np.float32)
                vectors[key][rows.start : rows.stop] = matrix
        if normalize:
            vectors = {key: v / np.linalg.norm(v, axis=1, keepdims=True) for key, v in vectors.items()}
        return {key: matrix[order] for key, matrix in vectors.items()}

    def families(self, prompts: Mapping[str, str]) -> list[Family]:
        """The prompts that share a pass; with joint tokenization, each is its own family."""
        if not self.joint:
            return families(prompts)
        return [family for name in sorted(prompts) for family in families({name: prompts[name]})]

    def dims(self, poolings: Sequence[str]) -> dict[str, int]:
        """The width of each pooling's vectors."""
        hidden = self.backbone.model.config.get_text_config().hidden_size
        return {key: hidden * (2 if split_pooling(key)[0] == "concat" else 1) for key in poolings}

    def depth(self) -> int:
        """The model's number of layers."""
        return len(decoder_layers(self.backbone.model))

    def chunk_size(self, prompts: Mapping[str, str], poolings: Sequence[str], layers: Sequence[Layer]) -> int:
        """How many texts' vectors are held in memory at once."""
        row = 4 * sum(self.dims(poolings).values()) * len(prompts) * len(layers)
        return max(128, min(16_384, CHUNK_MOST // row, max(CHUNK_TEXTS, CHUNK_BYTES // row)))

    def chunks(
        self,
        texts: Sequence[str],
        prompts: Mapping[str, str],
        poolings: Sequence[str],
        layers: Sequence[Layer],
        skip: Callable[[range], bool] = lambda rows: False,
        progress: TextsDone | None = None,
        size: int | None = None,
    ) -> Iterator[Chunk]:
        """Like grid, but some texts at a time, to bound memory. Equal texts are embedded again.

        A chunk's vectors are views of one array, whose memory is used again once the caller drops them all.
        skip(rows) is True for chunks not to compute; size: texts per chunk. While a chunk runs, a thread tokenizes the
        next one.
        """
        size = size or self.chunk_size(prompts, poolings, layers)
        works = [self._work(family, poolings, layers) for family in self.families(prompts)]
        parts = [range(start, min(start + size, len(texts))) for start in range(0, len(texts), size)]
        wanted = [rows for rows in parts if not skip(rows)]
        done = len(texts) - sum(map(len, wanted))
        buffers = Buffers()
        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(self._ids, works, texts, wanted[0]) if wanted else None
            for number, rows in enumerate(wanted):
                ids = coming.result()
                if number == 0:
                    self.batches.fuse_if_worth(self.fuse, self._tokens(works, ids) * len(texts) // len(rows))
                if number + 1 < len(wanted):
                    coming = ahead.submit(self._ids, works, texts, wanted[number + 1])
                own = texts[rows.start : rows.stop]
                found: dict[Key, np.ndarray] = {}
                for index, work in enumerate(works):

                    def told(more: int, before: int = done, share: int = index, texts_here: int = len(rows)) -> None:
                        if progress:  # a family is its share of a text
                            progress(before + (share * texts_here + more) // len(works), len(texts))

                    trunks = [work.trunk(row) for row in ids[index]]
                    found |= self._vectors(work, own, trunks, layers, told, buffers)
                yield rows, found
                done += len(rows)

    def _work(self, family: Family, poolings: Sequence[str], layers: Sequence[Layer]) -> TreeWork:
        spans = [split_pooling(key) for key in poolings]
        if self.joint and any(span == "text" for _, span in spans):
            raise PromptpoolError("poolings: tokenization joint has no text span; use composed, or leave :text out")
        composer, depth = self.composer, self.depth()
        head, suffixes = (), [()]
        if not self.joint:
            head = (*composer.bos_ids, *composer.piece(family.prefix))
            suffixes = [composer.piece(template.suffix) for template in family.templates]
        tree = plant(suffixes, composer.eos_id if any(name == "eos" for name, _ in spans) else None)
        lead, head = (head, ()) if len(head) < SHARED_FROM else ((), head)
        numbers = tuple(sorted({layer_number(layer, depth) for layer in layers}))
        slack = SLACK if self.backbone.device.type == "cuda" else 0.0
        layout = Layout(head, tree, tuple(poolings), numbers, composer.eos_id, slack)
        middle = None if self.joint or family.middle is None else tuple(composer.piece(family.middle))
        return TreeWork(family.templates, layout, lead, middle)

    def _ids(self, works: Sequence[TreeWork], texts: Sequence[str], rows: range) -> list[list[list[int]]]:
        """Each family's token ids of some texts."""
        own = list(texts[rows.start : rows.stop])
        if self.joint:
            return [self.composer.joint(work.templates[0], own) for work in works]
        return [self.composer.texts(own)] * len(works)

    def _tokens(self, works: Sequence[TreeWork], ids: Sequence[list[list[int]]]) -> int:
        """Of some texts under all families, without the shared heads."""
        return sum(
            sum(map(len, rows)) + len(rows) * len(work.layout.tree.ids) for work, rows in zip(works, ids, strict=True)
        )

    def tokens_of(
        self, texts: Sequence[str], prompts: Mapping[str, str], poolings: Sequence[str], layers: Sequence[Layer]
    ) -> int:
        """About how many tokens the passes over some texts take, without shared heads: known from a sample."""
        works = [self._work(family, poolings, layers) for family in self.families(prompts)]
        some = texts[:: -(-len(texts) // SAMPLE)]
        return self._tokens(works, self._ids(works, some, range(len(some)))) * len(texts) // len(some)

    def _require_room(self, work: TreeWork, texts: Sequence[str], trunks: Sequence[Trunk]) -> None:
        """Raises PromptpoolError for a text that, with its prompt, is longer than the model reads."""
        most = getattr(self.backbone.model.config.get_text_config(), "max_position_embeddings", None)
        around = len(work.layout.head) + max(map(len, work.layout.tree.paths))
        longest = max((len(trunk.ids) for trunk in trunks), default=0)
        if not most or most < 0 or around + longest <= most:  # XLNet: -1
            return
        for text, trunk in zip(texts, trunks, strict=True):
            if around + len(trunk.ids) > most:
                names = ", ".join(template.name for template in work.templates)
                raise PromptpoolError(
                    f"texts: {text[:80]!r} under prompt {names} takes {around + len(trunk.ids)} tokens and the model "
                    f"reads {most}; lower max_text_tokens by {around + len(trunk.ids) - most}"
                )

    def _vectors(
        self,
        work: TreeWork,
        texts: Sequence[str],
        trunks: Sequence[Trunk],
        layers: Sequence[Layer],
        told: Callable[[int], None],
        buffers: Buffers,
    ) -> dict[Key, np.ndarray]:
        require_tokens(work, texts, trunks)
        self._require_room(work, texts, trunks)
        depth = self.depth()
        readout = Readout(work.layout.tree, work.layout.poolings)
        whole: dict[int, np.ndarray] = {}  # [texts, parts, dim] of each layer, filled by one scatter a batch
        keys = {
            (template.name, pooling, layer): (layer_number(layer, depth), readout.columns[branch, pooling])
            for branch, template in enumerate(work.templates)
            for pooling in work.layout.poolings
            for layer in layers
        }
        done = 0
        for group, found, finite in self.batches.run(work, trunks):
            if not finite:
                for key, (number, columns) in keys.items():
                    require_finite(found[number][:, columns].flatten(1).numpy(), group, texts, key)
            place = torch.tensor(group)
            for number, parts in found.items():
                if number not in whole:
                    whole[number] = buffers.lend((len(texts), *parts.shape[1:]))
                torch.from_numpy(whole[number]).index_copy_(0, place, parts)
            done += len(group)
            told(done)
        vectors = {key: whole[number][:, columns].reshape(len(texts), -1) for key, (number, columns) in keys.items()}
        for key, (number, _) in keys.items():
            if number and same_everywhere(vectors[key], trunks):
                self._require_sight(work, trunks, key, number)
        return vectors

    def _require_sight(self, work: TreeWork, trunks: Sequence[Trunk], key: Key, number: int) -> None:
        """PromptpoolError where different texts all have one vector, unless only the token that was read is to blame.

        Below the last layer, a prompt's last token may not have seen the text yet: convolutions and windows of
        attention reach a few tokens back. It is so where the states of the text's own tokens differ; a warning says it.
        """
        if number < self.depth() and split_pooling(key[1])[0] in END_POOLINGS:
            other = next(trunk for trunk in trunks if trunk.ids != trunks[0].ids)
            whole = replace(work, layout=replace(work.layout, poolings=("max",), numbers=(number,)))
            ((_, found, _),) = self.batches.run(whole, [trunks[0], other])
            if not alike(found[number][:, 0].numpy()):
                warnings.warn(
                    f"embedding {key_text(key)}: the prompt's last token has not seen the text at layer {number}, and "
                    "all texts have one vector; read a deeper layer, or the pooling mean",
                    stacklevel=2,
                )
                return
        raise PromptpoolError(
            f"embedding {key_text(key)}: {len(trunks)} texts have one and the same vector; check the model's weights"
        )
