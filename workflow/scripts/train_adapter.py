from promptpool.runtime.job import job_of

folder = snakemake.output.weights.removesuffix(".tar")

with job_of(snakemake, writes=[folder]):
    from promptpool.artifacts.files import pack_folder
    from promptpool.hub.snapshots import pinned
    from promptpool.training.train_adapter import train_adapter

    how = dict(snakemake.params.execution)
    train_adapter(
        snakemake.input.pairs,
        folder,
        gpus=how.pop("gpus"),
        device=how.pop("device"),
        execution=how,
        spec=snakemake.params.spec,
        template=snakemake.params.template,
        scratch=f"{folder}.scratch",
        **pinned(snakemake.params.model, str(snakemake.input.snapshot)),
    )
    pack_folder(folder, snakemake.output.weights)
