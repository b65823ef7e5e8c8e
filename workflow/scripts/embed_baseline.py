from promptpool.job import job

with job(snakemake.log[0], snakemake.threads):
    from promptpool.baselines import embed_baseline

    embed_baseline(
        snakemake.output[0],
        texts=snakemake.input.texts,
        name=snakemake.wildcards.baseline,
        spec=snakemake.params.spec,
        device=snakemake.config.get("device", "auto"),
    )
