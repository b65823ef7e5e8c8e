from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.analysis.gather_scores import gather

    gather(list(snakemake.input.get("parts", snakemake.input)), snakemake.output[0], snakemake.params.sort_by)
