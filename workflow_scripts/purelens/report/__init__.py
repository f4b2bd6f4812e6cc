"""The explorer: the data and pages of neurons."""
