"""The parts of a training run: optimizer and schedule, state, resuming, checkpoints, guards, several processes."""
