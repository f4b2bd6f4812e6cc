"""What is stale and why: digests of code and files, the comparison with what the study would make, the plan, the verifier."""
