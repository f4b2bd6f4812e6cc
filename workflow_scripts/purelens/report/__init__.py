"""The explorer: pages on which people look at neurons."""
