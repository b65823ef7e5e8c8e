from promptpool.job import job

with job(snakemake.log[0], snakemake.threads):
    from promptpool.attention_summary import summarise

    summarise(list(snakemake.input), snakemake.output.table, snakemake.output.summary)
