from promptpool.runtime.job import job_of

folder = snakemake.output.weights.removesuffix(".tar")

with job_of(snakemake, writes=[folder]):
    from promptpool.artifacts.files import pack
    from promptpool.config.adapters import execution
    from promptpool.hub.snapshots import pinned
    from promptpool.training.launch import train

    how = execution(snakemake.config, snakemake.wildcards.name)
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
