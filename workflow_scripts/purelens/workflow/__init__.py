"""The interface to Snakemake: inputs of rules, jobs, checks before the first job, and estimates of resources."""
