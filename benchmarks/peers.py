"""One implementation of the training step in its own process, stepped on request: ours, AI2's or transformers'.

    PYTHON benchmarks/peers.py ours|ai2|transformers FOLDER

`train_step` starts one per implementation and writes their common input to the folder: `spec.json`, `model.safetensors`
and `tokens.npy`. A line on standard input is a number of steps; the response is a line of JSON, see `timed`, or `held`
for a single step. For `ai2`, nothing of this project is imported: AI2's package has the same name, and its own
environment.

A step is the same in all implementations: forward and backward pass in the precision of the spec over fp32 weights,
cross-entropy with z-loss (transformers has none), clipping of the global norm, fused AdamW with an undecayed embedding.
"""

import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

Spec = dict[str, Any]
Step = Callable[[Tensor, float], Tensor]  # tokens (batch, seq), rate -> cross-entropy on the device

AI2_NAMES = {"norm.weight": "lm_head.norm.weight", "head.weight": "lm_head.w_out.weight"}


def ours(spec: Spec, weights: dict[str, Tensor], stack: ExitStack) -> Step:
    """Return a step of our trainer, with the process settings of a run."""
    from olmo_core.model.config import ModelConfig
    from olmo_core.train.distributed.process import training_process
    from olmo_core.train.objectives.language_modelling import LanguageModelling
    from olmo_core.train.placement import TrainPlacement
    from olmo_core.train.trainer import Trainer

    placement = TrainPlacement.model_validate(spec["placement"])
    stack.enter_context(training_process(placement))
    objective = LanguageModelling.model_validate(spec["training"]).build_objective()
    trainer = Trainer(ModelConfig.model_validate(spec["model"]), objective, placement)
    trainer.model.load_state_dict(weights)
    return lambda tokens, rate: trainer.update({"tokens": tokens}, rate).sums["loss"]


def ai2(spec: Spec, weights: dict[str, Tensor], stack: ExitStack) -> Step:
    """Return the step of ai2-olmo-core's TransformerTrainModule, with its model and its own compilation.

    The module itself does not compile without a GPU, so this function does.
    """
    from olmo_core.nn.attention import AttentionBackendName
    from olmo_core.nn.feed_forward import FeedForwardConfig
    from olmo_core.nn.transformer import TransformerBlockType, TransformerConfig
    from olmo_core.optim import AdamWConfig, OptimGroupOverride

    shape, training = spec["model"], spec["training"]
    adamw = training["optimizer"]
    model = TransformerConfig.llama_like(
        d_model=shape["d_model"],
        vocab_size=shape["vocab_size"],
        n_layers=shape["n_layers"],
        n_heads=shape["n_heads"],
        n_kv_heads=shape["n_kv_heads"],
        qk_norm=True,
        layer_norm_eps=shape["norm_eps"],
        rope_theta=int(shape["rope_theta"]),
        block_name=TransformerBlockType.reordered_norm,
        attn_backend=AttentionBackendName.torch,
        feed_forward=FeedForwardConfig(hidden_size=shape["hidden_size"], bias=False),
    ).build(init_device=spec["placement"]["device"])
    model.load_state_dict({AI2_NAMES.get(name, name): tensor for name, tensor in weights.items()})
    if spec["placement"]["compile"]:
        model.apply_compile()
    optimizer = AdamWConfig(
        betas=(adamw["beta1"], adamw["beta2"]),
        eps=adamw["eps"],
        weight_decay=adamw["weight_decay"],
        group_overrides=[OptimGroupOverride(["embeddings.weight"], {"weight_decay": 0.0})],
        fused=True,
    ).build(model)

    def loss(tokens: Tensor) -> tuple[Tensor, Tensor]:
        labels = F.pad(tokens[:, 1:], (0, 1), value=-100)
        output = model(
            tokens,
            labels=labels,
            loss_reduction="sum",
            z_loss_multiplier=training["z_loss"],
            loss_div_factor=(labels != -100).sum(),
            return_logits=False,
        )
        return output.loss, output.ce_loss

    return stepping(spec, model, optimizer, loss)


def transformers(spec: Spec, weights: dict[str, Tensor], stack: ExitStack) -> Step:
    """Return a step of Olmo2ForCausalLM, compiled as a whole with its own loss."""
    from transformers import Olmo2Config, Olmo2ForCausalLM

    from olmo_core.hub.mapping import hub_name

    shape, adamw = spec["model"], spec["training"]["optimizer"]
    model = Olmo2ForCausalLM(
        Olmo2Config(
            vocab_size=shape["vocab_size"],
            hidden_size=shape["d_model"],
            intermediate_size=shape["hidden_size"],
            num_hidden_layers=shape["n_layers"],
            num_attention_heads=shape["n_heads"],
            num_key_value_heads=shape["n_kv_heads"],
            max_position_embeddings=shape["context_length"],
            rms_norm_eps=shape["norm_eps"],
            rope_parameters={"rope_type": "default", "rope_theta": shape["rope_theta"]},
            tie_word_embeddings=False,
            use_cache=False,
            pad_token_id=None,
        )
    )
    model.load_state_dict({hub_name(name): tensor for name, tensor in weights.items()})
    model.to(spec["placement"]["device"]).train()
    embedding = model.model.embed_tokens.weight
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p is not embedding], "weight_decay": adamw["weight_decay"]},
            {"params": [embedding], "weight_decay": 0.0},
        ],
        betas=(adamw["beta1"], adamw["beta2"]),
        eps=adamw["eps"],
        fused=True,
    )
    compiled = torch.compile(model) if spec["placement"]["compile"] else model

    def loss(tokens: Tensor) -> tuple[Tensor, Tensor]:
        value = compiled(tokens, labels=tokens).loss
        return value, value.detach()

    return stepping(spec, model, optimizer, loss)


def stepping(
    spec: Spec, model: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> Step:
    """Return the step around a peer's loss function: tokens -> (value to differentiate, cross-entropy)."""
    device, training = spec["placement"]["device"], spec["training"]

    def step(tokens: Tensor, rate: float) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=training["precision"] == "bf16"):
            value, cross_entropy = loss(tokens.to(device))
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), training["max_grad_norm"])
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return cross_entropy

    return step


def timed(step: Step, batches: np.ndarray, rates: list[float], device: str) -> dict[str, Any]:
    """Take one step per batch; return the loss of each, the seconds of one, and the peak memory.

    The first step of a block is not timed: memory must be allocated again, and caches hold another process's data.
    """
    forget_peak(device)
    losses = []
    for number, (batch, rate) in enumerate(zip(batches, rates, strict=True)):
        if number == 1:
            synchronize(device)
            began = time.perf_counter()
        losses.append(step(torch.from_numpy(batch), rate))
    synchronize(device)
    seconds = (time.perf_counter() - began) / (len(losses) - 1)
    answer = {"losses": torch.stack(losses).tolist(), "seconds": seconds, "peak_bytes": peak_bytes(device)}
    if device == "cuda":
        torch.cuda.empty_cache()  # The implementations share one GPU; free unused memory for the next one.
    return answer


def held(step: Step, batches: np.ndarray, rates: list[float], device: str) -> dict[str, Any]:
    """Take one step; return its loss and the peak memory of tensors that are not kept between steps.

    Weights and moments are kept; gradients, activations and buffers are not.
    """
    (batch,), (rate,) = torch.from_numpy(batches), rates
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        kept = torch.cuda.memory_allocated()
        loss = step(batch, rate)
        return {"losses": [loss.item()], "step_bytes": torch.cuda.max_memory_allocated() - kept}
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        loss = step(batch, rate)
    assert seen.profiler is not None and seen.profiler.kineto_results is not None
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return {"losses": [loss.item()], "step_bytes": max(accumulate(changes))}


def synchronize(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def forget_peak(device: str) -> None:
    """Reset the peak of memory, because the memory of compilation is not part of a step."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: str) -> int:
    """Return the most memory in use since `forget_peak`: tensors on a GPU, resident memory on a CPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    answers, sys.stdout = sys.stdout, sys.stderr  # Output of libraries must not mix with the responses.
    spec: Spec = json.loads((folder / "spec.json").read_text())
    device = spec["placement"]["device"]
    torch.set_num_threads(spec["placement"]["threads"])
    tokens, done = np.load(folder / "tokens.npy", mmap_mode="r+"), 0
    with ExitStack() as stack:
        build = {"ours": ours, "ai2": ai2, "transformers": transformers}[name]
        step = build(spec, load_file(folder / "model.safetensors"), stack)
        for line in sys.stdin:
            span = slice(done, done + int(line))
            measure = timed if int(line) > 1 else held
            print(json.dumps(measure(step, tokens[span], spec["rates"][span], device)), file=answers, flush=True)
            done = span.stop


if __name__ == "__main__":
    main()
