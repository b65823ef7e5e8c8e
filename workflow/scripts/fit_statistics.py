from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.scoring.fit_statistics import fit_statistics

    fit_statistics(snakemake.output[0], snakemake.input.vectors, snakemake.params.readouts, code=snakemake.params.code)
