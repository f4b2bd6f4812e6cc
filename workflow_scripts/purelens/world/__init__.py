"""The embedded world: drawn scenes whose truth is known, and two small networks trained on them."""
