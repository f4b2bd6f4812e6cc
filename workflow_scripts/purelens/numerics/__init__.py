"""Arithmetic without networks or files: k-means of many small sets, bootstrap intervals."""
