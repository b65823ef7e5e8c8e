from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.hub.snapshots import pinned
    from promptpool.models.checkpoint import Checkpoint
    from promptpool.scoring.measure_costs import measure_costs

    measure_costs(
        snakemake.output[0],
        name=snakemake.wildcards.model,
        checkpoint=Checkpoint(**pinned(snakemake.params.model, str(snakemake.input.snapshot))),
        texts=dict(zip(snakemake.params.tasks, snakemake.input.texts, strict=True)),
        spec=snakemake.params.spec,
    )
