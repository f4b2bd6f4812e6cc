"""Linear explanations: what a neuron means, in words, with a score (Oikarinen & Weng 2024)."""
