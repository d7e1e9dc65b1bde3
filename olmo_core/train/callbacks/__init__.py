"""Work that accompanies the training steps: checkpoint times, throughput, memory, held-out text, traces."""
