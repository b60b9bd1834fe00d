"""Measurements against rivals, in the same run on the same machine: ``python -m benchmarks``."""
