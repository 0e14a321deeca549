"""The machine and the process: threads, memory, environment, console, progress and determinism."""
