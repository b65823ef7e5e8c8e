"""Training at an inner layer: the layers above it are cut off, and its states are pooled as the engine reads them."""

from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from ..embedding.layer_states import one_state_a_token
from ..errors import PromptpoolError
from ..models.decoder import decoder_layers
from ..models.first_layers import keep_layers
from ..variants import Layer, trained_layers
from .packed import inner_states


class InnerStates(nn.Module):
    """Puts the last layer's own states in the place of the model's output, which went through the final norm."""

    def __init__(self, tuned: SentenceTransformer):
        super().__init__()
        network = tuned.transformers_model
        self.model = (network,)  # in a tuple, since nn.Module would register its parameters a second time
        self.wanted, self.states = False, None
        # While a backward computes a checkpointed layer again, its states are not wanted, and would stay in memory.
        tuned[0].register_forward_pre_hook(self._expect)
        decoder_layers(network)[-1].register_forward_hook(self._keep)

    def _expect(self, _module: nn.Module, _inputs: tuple) -> None:
        self.wanted = True

    def _keep(self, _module: nn.Module, _inputs: tuple, output: Tensor | tuple | list) -> None:
        if self.wanted:
            self.states = output[0] if isinstance(output, tuple | list) else output

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        (network,), states = self.model, self.states
        self.states, self.wanted = None, False
        if states is None:
            raise PromptpoolError(
                f"{network.name_or_path}: layer {len(decoder_layers(network))} of {type(network).__name__} does not "
                "run on text alone; train another"
            )
        features["token_embeddings"] = inner_states(network, one_state_a_token(network, states))
        return features


def end_at(tuned: SentenceTransformer, layer: Layer, path: str) -> int | None:
    """Makes a model in training end at a layer, in place: returns how many layers it keeps, None if it keeps all.

    Its token vectors are then that hidden state as `layer_states.reading` hands it on, without the final norm, which
    belongs to the last layer alone. Raises PromptpoolError for the embeddings, for a layer outside the model, and for
    an architecture that cannot be cut or has several states for each token.
    """
    network = tuned.transformers_model
    depth = len(decoder_layers(network))
    try:
        number = trained_layers(layer, depth)
    except PromptpoolError as error:
        raise PromptpoolError(f"{path}: {error}") from None
    if number == depth:
        return None
    keep_layers(network, number)
    tuned.insert(1, InnerStates(tuned))
    return number
