from promptpool.job import job

with job(
    snakemake.log[0],
    snakemake.threads,
    gpus=snakemake.resources.get("gpu", 0),
    jobs_per_gpu=snakemake.config.get("jobs_per_gpu", 1),
):
    from promptpool.baselines import embed_baseline
    from promptpool.hub import pinned

    embed_baseline(
        snakemake.output[0],
        texts=snakemake.input.texts,
        name=snakemake.wildcards.baseline,
        spec=pinned(snakemake.params.spec, str(snakemake.input.snapshot)),
        device=snakemake.config.get("device", "auto"),
    )
