from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.embedding.embed_ensemble import embed_ensemble

    embed_ensemble(
        snakemake.output[0],
        name=snakemake.wildcards.ensemble,
        prompts=snakemake.params.prompts,
        files=snakemake.input,
        storage=snakemake.params.storage,
    )
