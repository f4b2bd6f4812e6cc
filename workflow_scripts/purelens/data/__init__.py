"""Images from all sources, lists of texts, and the split of the images."""
