"""Figures of neurons, layers and the benchmark."""
