"""What tests of several packages share: made-up data, and functions that run stages on it."""
