from promptpool.job import job_of

with job_of(snakemake, online=True):
    from promptpool.hub_fetch import fetch_snapshot

    fetch_snapshot(snakemake.output[0], snakemake.input[0], snakemake.resources.wanted_by)
