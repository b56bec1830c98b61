"""The training of a model: configuration, batches, losses, checkpoints, and what watches over a run."""
