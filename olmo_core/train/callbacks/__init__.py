"""What happens beside the training steps: checkpoints, throughput, memory, held-out text."""
