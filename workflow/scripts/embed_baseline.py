from promptpool.job import job

with job(snakemake.log[0], snakemake.threads, reads=snakemake.input, writes=snakemake.output):
    from promptpool.baselines import embed_baseline
    from promptpool.hub import pinned

    embed_baseline(
        snakemake.output[0],
        texts=snakemake.input.texts,
        name=snakemake.wildcards.baseline,
        spec=pinned(snakemake.params.spec, str(snakemake.input.snapshot)),
        device=snakemake.config.get("device", "auto"),
    )
