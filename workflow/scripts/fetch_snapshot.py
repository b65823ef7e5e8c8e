from promptpool.runtime.job import job_of

with job_of(snakemake, online=True):
    from promptpool.hub.fetch_snapshot import fetch_snapshot

    fetch_snapshot(snakemake.output[0], snakemake.resources.wanted_by)
