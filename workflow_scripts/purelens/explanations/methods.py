"""Name the methods that explain neurons. A prefix is followed by the name of a concept set or of another method."""

LINEAR = "le:"
"""Linear Explanations, of a concept set (Oikarinen & Weng 2024)."""

DISSECT = "clip_dissect:"
"""CLIP-Dissect, of a set of texts (Oikarinen & Weng 2023)."""

IMPORTED = "imported:"
"""Imported explanations."""

SHUFFLED = "shuffled:"
"""The control of a method: each neuron has the words of another one."""

NETWORK_DISSECTION = "network_dissection"
"""Network Dissection (Bau et al. 2017)."""
