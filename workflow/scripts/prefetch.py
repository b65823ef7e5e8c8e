from promptpool.job import job

with job(snakemake.log[0], snakemake.threads, online=True, reads=snakemake.input, writes=snakemake.output):
    from promptpool.hub_fetch import prefetch

    prefetch(list(snakemake.input))
