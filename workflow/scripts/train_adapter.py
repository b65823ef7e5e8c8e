from promptpool.job import job

with job(snakemake.log[0], snakemake.threads):
    from promptpool.hub import pinned
    from promptpool.training import train_adapter

    train_adapter(
        snakemake.input.pairs,
        snakemake.output[0],
        spec=snakemake.params.spec,
        template=snakemake.params.template,
        scratch=f"{snakemake.output[0]}.scratch",
        device=snakemake.config.get("device", "auto"),
        **pinned(snakemake.params.model, str(snakemake.input.snapshot)),
    )
