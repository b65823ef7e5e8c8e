from promptpool.job import job

with job(snakemake.log[0], snakemake.threads, online=True):
    from promptpool.hub_lock import lock_hub

    lock_hub(snakemake.output[0], snakemake.params.needs)
