from promptpool.job import job_of

with job_of(snakemake):
    from promptpool.mteb_results import write_layout

    write_layout(list(snakemake.input), snakemake.output[0])
