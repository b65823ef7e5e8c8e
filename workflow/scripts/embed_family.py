from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.embedding.embed_family import embed_family
    from promptpool.hub.snapshots import pinned

    embed_family(
        snakemake.output[0],
        texts=snakemake.input.texts,
        adapter=snakemake.params.adapter,
        prompts=snakemake.params.prompts,
        device=snakemake.config.get("device", "auto"),
        workers=max(1, snakemake.resources.get("gpu", 1)),
        code=snakemake.params.code,
        **pinned(snakemake.params.model, str(snakemake.input.snapshot)),
        **snakemake.params.grid,
    )
