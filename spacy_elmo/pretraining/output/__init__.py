"""What a training run writes: checkpoints, model folders, logs, curves."""
