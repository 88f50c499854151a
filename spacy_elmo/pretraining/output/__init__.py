"""Files of a training run: checkpoints, model folders, logs, curves."""
