from promptpool.job import job

with job(snakemake.log[0], snakemake.threads):
    from promptpool.overlap import check_overlap

    check_overlap(snakemake.input.pairs, snakemake.input.tasks, snakemake.output[0])
