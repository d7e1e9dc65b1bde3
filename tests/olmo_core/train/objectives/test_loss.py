import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from olmo_core.train.objectives import loss as room
from olmo_core.train.objectives.loss import IGNORED, head_loss, shifted_labels, slice_loss


def reference(
    states: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, targets: int, z_loss: float
) -> torch.Tensor:
    """Return the loss computed plainly, over all logits at once, for autograd to differentiate."""
    logits = states @ weight.t()
    cross_entropy = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum") / targets
    squared = (logits.logsumexp(-1).square() * (labels != IGNORED)).sum() / targets
    return cross_entropy + z_loss * squared


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 41), st.sampled_from([0.0, 1e-4, 0.3]), st.integers(0, 2**31))
def test_loss_and_gradients_match_autograd_over_full_logits(
    rows: int, slice_rows: int, z_loss: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(rows, 8, generator=generator, requires_grad=True)
    weight = torch.randn(24, 8, generator=generator, requires_grad=True)
    labels = torch.randint(0, 24, (rows,), generator=generator)
    labels[torch.rand(rows, generator=generator) < 0.3] = IGNORED
    expected = reference(states, weight, labels, 50, z_loss)
    (3 * expected).backward()
    wanted = states.grad, weight.grad
    states.grad = weight.grad = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "SLICE_LOGITS", {"cpu": slice_rows * 24})
        loss, cross_entropy, squared = head_loss(states, weight, labels, 50, z_loss, slice_loss)
    (3 * loss).backward()
    assert torch.allclose(loss, expected, rtol=1e-5, atol=1e-6)
    assert torch.allclose(cross_entropy + z_loss * squared, loss)
    assert torch.allclose(states.grad, wanted[0], rtol=1e-4, atol=1e-6)
    assert torch.allclose(weight.grad, wanted[1], rtol=1e-4, atol=1e-6)


def test_slices_respect_logit_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "SLICE_LOGITS", {"cpu": 7 * 24})
    seen: list[int] = []

    def watched(states: torch.Tensor, *others: object) -> tuple[torch.Tensor, ...]:
        seen.append(states.shape[0])
        return slice_loss(states, *others)  # type: ignore[arg-type]

    head_loss(torch.randn(20, 8), torch.randn(24, 8), torch.zeros(20, dtype=torch.long), 20, 0.0, watched)  # type: ignore[arg-type]
    assert seen == [7, 7, 6]


def test_last_position_has_no_target() -> None:
    assert shifted_labels(torch.tensor([[3, 4, 5], [6, 7, 8]])).tolist() == [[4, 5, IGNORED], [7, 8, IGNORED]]
