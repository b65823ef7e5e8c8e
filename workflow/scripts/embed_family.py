from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.embedding.embed_family import Grid, embed_family
    from promptpool.hub.snapshots import pinned
    from promptpool.models.checkpoint import Checkpoint

    params = snakemake.params
    embed_family(
        snakemake.output[0],
        texts=snakemake.input.texts,
        prompts=params.prompts,
        checkpoint=Checkpoint(
            **pinned(params.model, str(snakemake.input.snapshot)),
            adapter=params.adapter,
            dtype=params.dtype,
            **params.execution,
        ),
        grid=Grid(**params.grid),
        workers=max(1, snakemake.resources.get("gpu", 1)),
        code=params.code,
    )
