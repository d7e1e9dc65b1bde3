"""Run the comparison of `train_step` on one GPU, with a 1B model at a context of 4096 tokens; print a JSON line.

    python benchmarks/gpu_train.py

Without a GPU it runs the smallest size on the CPU and reports that. Utilization uses both ways of counting FLOPs,
relative to the data sheet's peak and to the rate of matrix products measured on the same device. The implementations
share the GPU: between blocks each keeps only weights and moments.
"""

import json
import os
import sys

import torch
from train_step import BATCHES, figures

from olmo_core.model.config import preset
from olmo_core.train.placement import TrainPlacement

BATCH = (4, 4096)  # AI2 and transformers hold all logits and their gradients, in bf16 and in fp32: 20 GB.


def main() -> None:
    threads = len(os.sched_getaffinity(0))
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
        found = {
            "model": "olmo2-1b",
            **figures(preset("olmo2-1b"), *BATCH, TrainPlacement(device="cuda", threads=threads)),
        }
    else:
        print("no GPU: the smallest size, on the CPU", file=sys.stderr)
        device = "cpu"
        found = {"model": "5m", **figures(preset("5m"), *BATCHES["5m"], TrainPlacement(threads=threads))}
    print(json.dumps({"device": device, **found}, sort_keys=True))


if __name__ == "__main__":
    main()
