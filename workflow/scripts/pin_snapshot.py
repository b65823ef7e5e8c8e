from promptpool.runtime.job import job_of

with job_of(snakemake, online=True):
    from promptpool.hub.pin_snapshot import pin_snapshot

    pin_snapshot(snakemake.output[0], snakemake.params.need, snakemake.resources.wanted_by)
