from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.hub.snapshots import pinned
    from promptpool.scoring.measure_costs import measure_costs

    measure_costs(
        snakemake.output[0],
        name=snakemake.wildcards.model,
        texts=dict(zip(snakemake.params.tasks, snakemake.input.texts, strict=True)),
        **pinned(snakemake.params.model, str(snakemake.input.snapshot)),
        **snakemake.params.spec,
    )
