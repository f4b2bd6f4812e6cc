"""The second-order lens: what the MLP neurons of a CLIP do to the image embedding (Gandelsman et al. 2024)."""
