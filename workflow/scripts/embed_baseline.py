from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.hub.snapshots import pinned
    from promptpool.scoring.embed_baseline import embed_baseline

    params = snakemake.params
    embed_baseline(
        snakemake.output[0],
        texts=dict(zip(params.tasks, snakemake.input.texts, strict=True)),
        name=snakemake.wildcards.baseline,
        spec=pinned(params.spec, str(snakemake.input.snapshot)),
        code=params.code,
        **params.execution,
    )
