"""Networks: built, loaded, inspected, cut into segments, explained by LRP; embedding models."""
