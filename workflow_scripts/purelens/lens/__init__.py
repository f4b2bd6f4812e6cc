"""The second-order lens: the effects of CLIP neurons on the image embedding (Gandelsman et al. 2024)."""
