from promptpool.job import job

with job(snakemake.log[0], snakemake.threads, reads=snakemake.input, writes=snakemake.output):
    from promptpool.ensembles import write_ensemble

    write_ensemble(
        snakemake.output[0],
        name=snakemake.wildcards.ensemble,
        prompts=snakemake.params.prompts,
        files=snakemake.input,
        storage=snakemake.params.storage,
    )
