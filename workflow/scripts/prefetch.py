from promptpool.job import job_of

with job_of(snakemake, online=True):
    from promptpool.hub_fetch import prefetch

    prefetch(list(snakemake.input))
