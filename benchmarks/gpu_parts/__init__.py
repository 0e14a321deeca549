"""Parts of `benchmarks/gpu.py`: images drawn on the spot, what is measured, and what is tried."""
