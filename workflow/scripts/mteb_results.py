from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.scoring.mteb_results import write_layout

    write_layout(list(snakemake.input), snakemake.output[0])
