"""Staleness: digests of code and files, the comparison of records with the study, the plan, and the verifier."""
