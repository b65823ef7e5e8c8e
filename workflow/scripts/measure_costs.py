from promptpool.job import job_of

with job_of(snakemake):
    from promptpool.costs import measure_costs
    from promptpool.hub import pinned

    measure_costs(
        snakemake.output[0],
        name=snakemake.wildcards.model,
        texts=dict(zip(snakemake.params.tasks, snakemake.input.texts, strict=True)),
        **pinned(snakemake.params.model, str(snakemake.input.snapshot)),
        **snakemake.params.spec,
    )
