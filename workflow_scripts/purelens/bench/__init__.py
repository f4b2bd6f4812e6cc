"""The benchmark: the definition, the published way, PureLens and the floor, side by side in one run."""
