"""The explorer: the data and pages on which people look at neurons."""
