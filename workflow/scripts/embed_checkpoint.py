from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.embedding.embed_checkpoint import embed_checkpoint
    from promptpool.embedding.parallel_embedder import Grid
    from promptpool.hub.snapshots import pinned
    from promptpool.models.checkpoint import Checkpoint

    params, how = snakemake.params, dict(snakemake.params.execution)
    embed_checkpoint(
        snakemake.output[0],
        texts=dict(zip(params.tasks, snakemake.input.texts, strict=True)),
        families=params.families,
        ensembles=params.ensembles,
        long_texts=params.get("long_texts", {}),
        checkpoint=Checkpoint(
            **pinned(params.model, str(snakemake.input.snapshot)),
            adapter=params.adapter,
            dtype=params.dtype,
            device=how["device"],
        ),
        grid=Grid(**params.grid),
        workers=max(1, snakemake.resources.get("gpu", 1)),
        fuse=how["fuse"],
        code=params.code,
    )
