from promptpool.job import job

with job(snakemake.log[0], snakemake.threads, online=True):
    from promptpool.hub_fetch import prefetch

    prefetch(list(snakemake.input))
