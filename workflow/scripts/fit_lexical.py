from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.scoring.fit_lexical import fit_lexical

    fit_lexical(snakemake.output[0], snakemake.input.texts, dim=snakemake.params.dim)
