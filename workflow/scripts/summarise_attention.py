from promptpool.job import job_of

with job_of(snakemake):
    from promptpool.attention_summary import summarise

    summarise(list(snakemake.input), snakemake.output.table, snakemake.output.summary)
