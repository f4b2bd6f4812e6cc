"""The benchmark: every stage beside its definition, the published programs and its floor."""
