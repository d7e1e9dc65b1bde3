"""One seeded run of a stage: loop, optimizer, schedule, checkpoints, ranks."""
