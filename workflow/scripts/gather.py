from promptpool.job import job

with job(snakemake.log[0], snakemake.threads, reads=snakemake.input, writes=snakemake.output):
    from promptpool.gathering import gather

    gather(list(snakemake.input.get("parts", snakemake.input)), snakemake.output[0], snakemake.params.sort_by)
