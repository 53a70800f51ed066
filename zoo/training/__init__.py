"""Training: one loop, run for a batch of trainings; checkpoints."""
