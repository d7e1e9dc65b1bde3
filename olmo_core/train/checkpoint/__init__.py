"""What a run can go on from: its state in files, copied while training waits, written while it goes on."""
