from promptpool.job import job

with job(
    snakemake.log[0],
    snakemake.threads,
    gpus=snakemake.resources.get("gpu", 0),
    jobs_per_gpu=snakemake.config.get("jobs_per_gpu", 1),
):
    from promptpool.artifacts import pack
    from promptpool.config_adapters import execution
    from promptpool.hub import pinned
    from promptpool.ranks import train

    how = execution(snakemake.config, snakemake.wildcards.name)
    folder = snakemake.output.weights.removesuffix(".tar")
    train(
        snakemake.input.pairs,
        folder,
        gpus=how.pop("gpus"),
        execution=how,
        spec=snakemake.params.spec,
        template=snakemake.params.template,
        scratch=f"{folder}.scratch",
        device=snakemake.config.get("device", "auto"),
        **pinned(snakemake.params.model, str(snakemake.input.snapshot)),
    )
    pack(folder, snakemake.output.weights)
