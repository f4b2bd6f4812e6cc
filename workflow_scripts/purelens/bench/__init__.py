"""The benchmark: every stage against its definition, the published programs and its floor."""
