from promptpool.job import job

with job(snakemake.log[0], snakemake.threads, reads=snakemake.input, writes=snakemake.output):
    from promptpool.config_adapters import execution
    from promptpool.hub import pinned
    from promptpool.ranks import train

    how = execution(snakemake.config, snakemake.wildcards.name)
    train(
        snakemake.input.pairs,
        snakemake.output[0],
        gpus=how.pop("gpus"),
        execution=how,
        spec=snakemake.params.spec,
        template=snakemake.params.template,
        scratch=f"{snakemake.output[0]}.scratch",
        device=snakemake.config.get("device", "auto"),
        **pinned(snakemake.params.model, str(snakemake.input.snapshot)),
    )
