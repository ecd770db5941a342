"""Experiment-tracked sweeps over image normalizations for fine-tuning."""

__version__ = "0.1.0"
