from promptpool.job import job

with job(snakemake.log[0], snakemake.threads, online=True, reads=snakemake.input, writes=snakemake.output):
    from promptpool.hub_lock import pin_snapshot

    pin_snapshot(snakemake.output[0], snakemake.params.need, snakemake.resources.wanted_by)
