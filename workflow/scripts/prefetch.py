from promptpool.runtime.job import job_of

with job_of(snakemake, online=True):
    from promptpool.hub.fetch_snapshot import prefetch

    prefetch(list(snakemake.input))
