from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.attention.summarise_omissions import summarise_omissions

    summarise_omissions(list(snakemake.input), snakemake.output.table, snakemake.output.summary)
