"""Networks: loading, inspection, segments, LRP, and embedding models."""
