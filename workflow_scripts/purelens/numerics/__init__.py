"""Arithmetic without networks or files: k-means of many small sets, and bootstrap intervals."""
