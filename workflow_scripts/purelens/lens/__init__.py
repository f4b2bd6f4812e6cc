"""What the neurons of a CLIP's vision transformer do to the image embedding: their second-order effects.

The method of Gandelsman, Efros and Steinhardt (2024, arXiv:2406.04341).
"""
