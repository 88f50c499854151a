"""The network's expensive operations, bound to a biLM's weights."""

from typing import Callable, List, NamedTuple, Sequence, Tuple

from torch import Tensor, nn

from .backends import ApplyCharCNN, Backend, LSTMState, RunLSTM
from .char_cnn import CharacterEncoder
from .lstm import ProjectedLSTM

LayerPair = Sequence[ProjectedLSTM]
"""The forward and the backward LSTM of one layer."""


class Operations(NamedTuple):
    """Operations of one biLM.

    char_cnn (ApplyCharCNN): Embedded characters and lengths -> filter responses.
    linear (Callable): A linear layer of the character encoder and its inputs ->
        outputs.
    lstms (List[RunLSTM]): Both LSTMs of each layer.
    """

    char_cnn: ApplyCharCNN
    linear: Callable[[nn.Linear, Tensor], Tensor]
    lstms: List[RunLSTM]


def bind(
    backend: Backend, encoder: CharacterEncoder, pairs: Sequence[LayerPair]
) -> Operations:
    """Bind the operations to the parameters themselves, so that gradients flow.

    backend (Backend): Computes the operations.
    encoder (CharacterEncoder): The character encoder.
    pairs (Sequence[LayerPair]): The LSTMs of each layer.
    """

    def char_cnn(characters: Tensor, lengths: Sequence[int]) -> Tensor:
        weight = encoder.filter_weight()
        return backend.char_cnn(characters, weight, encoder.filters, lengths)

    def linear(layer: nn.Linear, inputs: Tensor) -> Tensor:
        return backend.linear(inputs, layer.weight, layer.bias)

    def lstm(pair: LayerPair) -> RunLSTM:
        def run(
            inputs: Tensor, batch_sizes: Sequence[int], state: LSTMState
        ) -> Tuple[Tensor, LSTMState]:
            weights = [layer.weights() for layer in pair]
            return backend.lstm(inputs, batch_sizes, state, weights, pair[0].clips)

        return run

    return Operations(char_cnn, linear, [lstm(pair) for pair in pairs])


def prepare(
    backend: Backend, encoder: CharacterEncoder, pairs: Sequence[LayerPair]
) -> Operations:
    """Bind the operations to copies of the present weights, packed for inference. Takes
    the same arguments as `bind`."""
    layers = [layer for layer in encoder.modules() if isinstance(layer, nn.Linear)]
    linears = {
        id(layer): backend.prepare_linear(layer.weight.detach(), layer.bias.detach())
        for layer in layers
    }
    return Operations(
        backend.prepare_char_cnn(encoder.filter_weight().detach(), encoder.filters),
        lambda layer, inputs: linears[id(layer)](inputs),
        [
            backend.prepare_lstm([layer.weights() for layer in pair], pair[0].clips)
            for pair in pairs
        ],
    )
