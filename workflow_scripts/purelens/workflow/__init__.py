"""What stands between Snakemake and the library: jobs, estimates, checks before the first job, paths and targets of a study."""
