"""Cross-entropy and z-loss of next tokens, over one pass of the logits.

Both are sums over the batch divided by the number of targets of the *global* batch, so that neither micro-batches nor
ranks change the loss or its gradient.
"""

import torch
from torch import Tensor

from olmo_core.model.transformer import Transformer


def next_token_loss(
    model: Transformer, tokens: Tensor, targets: Tensor, z_weight: float, precision: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (loss to minimise, cross-entropy, squared log-normaliser) of `tokens`.

    Args:
        model: the network.
        tokens: (batch, seq) ids; each position but the last predicts the one after it.
        targets: number of targets of the global batch, a scalar.
        z_weight: weight of the squared log-normaliser (PaLM report, section 5).
        precision: type of the matrix products; weights, norms' sums and the loss itself stay in fp32.
    """
    with torch.autocast(tokens.device.type, precision, enabled=precision != torch.float32):
        logits = model.head(model.states(tokens)[:, :-1].flatten(0, 1)).float()
    normaliser = torch.logsumexp(logits, -1)
    chosen = logits.gather(1, tokens[:, 1:].reshape(-1, 1)).squeeze(1)
    entropy = (normaliser - chosen).sum() / targets
    squared = (normaliser * normaliser).sum() / targets
    return entropy + z_weight * squared, entropy.detach(), squared.detach()
