from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.hub.snapshots import pinned
    from promptpool.scoring.embed_baseline import embed_baseline

    embed_baseline(
        snakemake.output[0],
        texts=snakemake.input.texts,
        name=snakemake.wildcards.baseline,
        spec=pinned(snakemake.params.spec, str(snakemake.input.snapshot)),
        **snakemake.params.execution,
    )
