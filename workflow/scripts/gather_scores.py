from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.analysis.gather_scores import gather_scores

    gather_scores(list(snakemake.input.parts), snakemake.output[0], snakemake.params.sort_by, snakemake.params.seeds)
