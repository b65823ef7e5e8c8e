from promptpool.job import job_of

with job_of(snakemake):
    from promptpool.baselines import embed_baseline
    from promptpool.hub import pinned

    embed_baseline(
        snakemake.output[0],
        texts=snakemake.input.texts,
        name=snakemake.wildcards.baseline,
        spec=pinned(snakemake.params.spec, str(snakemake.input.snapshot)),
        device=snakemake.config.get("device", "auto"),
    )
