"""The training step compared with plain torch: eager, fp32, cross-entropy over full logits, stock AdamW."""

import pytest
import torch
import torch.nn.functional as F
from training_world import EAGER, MODEL, config, stacked

from olmo_core.model.config import ModelConfig
from olmo_core.train.config import OptimizerConfig
from olmo_core.train.objectives.language_modelling import LanguageModelling
from olmo_core.train.placement import TrainPlacement
from olmo_core.train.trainer import Trainer


def batches(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(8)
    return [torch.randint(0, 64, (4, 16), generator=generator) for _ in range(count)]


def trained(
    training: LanguageModelling, micro_batch: int | None = None, steps: int = 4, shape: ModelConfig = MODEL
) -> tuple[Trainer, torch.Tensor]:
    trainer = Trainer(
        shape, training.build_objective(), TrainPlacement(threads=1, compile=False, micro_batch=micro_batch)
    ).initialize()
    return trainer, torch.stack([stacked(trainer.update({"tokens": batch}, 5e-3)) for batch in batches(steps)])


OLMO1 = ModelConfig.model_validate(
    MODEL.model_dump() | {"architecture": "olmo1", "norm_eps": 1e-5, "tied_embeddings": True, "clip_qkv": 0.05}
)


@pytest.mark.parametrize("shape", [MODEL, OLMO1], ids=["olmo2", "olmo1"])
def test_steps_match_plain_implementation(shape: ModelConfig) -> None:
    # A large eps: with a small one, Adam turns the rounding error of a gradient near zero into a whole step.
    adamw = OptimizerConfig(weight_decay=0.3, eps=1e-3)
    training = config(precision="fp32", z_loss=1e-3, max_grad_norm=0.5, optimizer=adamw)
    trainer, sums = trained(training, shape=shape)
    model = Trainer(shape, training.build_objective(), EAGER).initialize().model
    embedding = model.embeddings.weight
    rest = [p for p in model.parameters() if p is not embedding]
    optimizer = torch.optim.AdamW(
        [{"params": rest, "weight_decay": 0.3}, {"params": [embedding], "weight_decay": 0.0}],
        lr=5e-3,
        betas=(0.9, 0.95),
        eps=1e-3,
        fused=False,
        foreach=False,
    )
    for batch, (cross_entropy, squared, norm) in zip(batches(4), sums.tolist(), strict=True):
        logits = model(batch)[:, :-1].flatten(0, 1)
        loss = F.cross_entropy(logits, batch[:, 1:].flatten())
        z = logits.logsumexp(-1).square().mean()
        (loss + 1e-3 * z).backward()
        plain_norm = torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in model.parameters()]))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
        assert (cross_entropy, squared, norm) == pytest.approx((loss.item(), z.item(), plain_norm.item()), rel=1e-5)
    for (name, ours), plain in zip(trainer.model.named_parameters(), model.parameters(), strict=True):
        assert torch.allclose(ours, plain, rtol=1e-5, atol=1e-5), name
        assert not torch.equal(
            ours, Trainer(shape, training.build_objective(), EAGER).initialize().model.get_parameter(name)
        ), name


@pytest.mark.parametrize("micro_batch", [1, 2, 3])
def test_micro_batches_change_neither_loss_nor_weights(micro_batch: int) -> None:
    training = config(precision="fp32")
    whole, expected = trained(training)
    split, sums = trained(training, micro_batch)
    assert torch.allclose(sums, expected, rtol=1e-5)
    for a, b in zip(whole.model.parameters(), split.model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_bf16_stays_near_fp32_and_keeps_fp32_weights() -> None:
    _, exact = trained(config(precision="fp32"))
    trainer, rounded = trained(config(precision="bf16"))
    assert torch.allclose(rounded[:, :2], exact[:, :2], rtol=5e-3)
    assert not torch.equal(rounded, exact)
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}


def test_compiled_steps_match_eager_steps() -> None:
    training = config(precision="fp32")
    _, expected = trained(training)
    trainer = Trainer(MODEL, training.build_objective(), TrainPlacement(threads=1, compile=True)).initialize()
    sums = torch.stack([stacked(trainer.update({"tokens": batch}, 5e-3)) for batch in batches(4)])
    assert torch.allclose(sums, expected, rtol=1e-5)
    counters = torch._dynamo.utils.counters
    assert counters["stats"]["unique_graphs"] > 0
    assert not counters["graph_break"]


def test_first_weights_follow_the_seed() -> None:
    first = Trainer(MODEL, config(seed=1).build_objective(), EAGER).initialize().model.head.weight
    assert torch.equal(first, Trainer(MODEL, config(seed=1).build_objective(), EAGER).initialize().model.head.weight)
    assert not torch.equal(
        first, Trainer(MODEL, config(seed=2).build_objective(), EAGER).initialize().model.head.weight
    )


def test_non_targets_affect_neither_loss_norm_nor_weights() -> None:
    """A batch with targets in two of four sequences equals a batch of these two."""
    some = Trainer(MODEL, config(precision="fp32").build_objective(), EAGER).initialize()
    two = Trainer(MODEL, config(precision="fp32", batch_size=2).build_objective(), EAGER).initialize()
    for batch in batches(3):
        kept = torch.tensor([True, False, False, True])
        seen = some.update({"tokens": batch, "targets": kept.unsqueeze(1).expand(batch.shape)}, 5e-3)
        assert seen.sums["targets"] == 0.5
        expected = two.update({"tokens": batch[kept]}, 5e-3).present()
        assert {name: seen.present()[name].item() for name in expected} == pytest.approx(
            {name: value.item() for name, value in expected.items()}, rel=1e-5
        )
    for a, b in zip(some.model.parameters(), two.model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("micro_batch", [None, 1])
def test_loss_is_mean_over_targets(micro_batch: int | None) -> None:
    """With label masks, the loss is the cross-entropy over unmasked next tokens only, whatever the micro-batch."""
    placement = TrainPlacement(threads=1, compile=False, micro_batch=micro_batch)
    trainer = Trainer(MODEL, config(precision="fp32").build_objective(), placement).initialize()
    (tokens,) = batches(1)
    targets = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(4)) < torch.tensor(
        [[0.9], [0.1], [0.5], [0]]
    )
    labels = tokens.masked_fill(~targets, -100)
    with torch.no_grad():
        logits = trainer.model.states(tokens)[:, :-1] @ trainer.model.head.weight.t()
    expected = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten()).item()
    values = trainer.update({"tokens": tokens, "targets": targets}, 1e-3)
    assert values.sums["loss"].item() == pytest.approx(expected, rel=1e-5)
    assert values.sums["targets"].item() == pytest.approx((labels[:, 1:] != -100).float().mean().item())


@pytest.mark.parametrize("recompute", ["feed_forward", "blocks"])
def test_recomputation_changes_nothing(recompute: str) -> None:
    placement = TrainPlacement.model_validate({"threads": 1, "compile": False, "recompute": recompute})
    again, once = (Trainer(MODEL, config().build_objective(), each).initialize() for each in (placement, EAGER))
    calls: list[int] = []
    again.model.blocks[0].feed_forward.w1.register_forward_hook(lambda *_: calls.append(1))
    for batch in batches(2):
        assert again.update({"tokens": batch}, 5e-3) == once.update({"tokens": batch}, 5e-3)
    assert len(calls) == 4  # twice a step
    for a, b in zip(again.model.parameters(), once.model.parameters(), strict=True):
        assert torch.equal(a, b)
