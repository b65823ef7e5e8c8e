from promptpool.job import job

with job(snakemake.log[0], snakemake.threads):
    from promptpool.training import train_adapter

    train_adapter(
        snakemake.input.pairs,
        snakemake.output[0],
        spec=snakemake.params.spec,
        template=snakemake.params.template,
        scratch=f"{snakemake.output[0]}.scratch",
        device=snakemake.config.get("device", "auto"),
        **snakemake.params.model,
    )
