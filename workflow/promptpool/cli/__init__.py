"""The command `promptpool`. It runs snakemake, and says how."""
