"""Neurons in words: Linear Explanations (Oikarinen & Weng 2024), CLIP-Dissect and Network Dissection, and their scores."""
