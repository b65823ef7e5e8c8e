from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.attention.summarise_attention import summarise_attention

    summarise_attention(list(snakemake.input), snakemake.output.table, snakemake.output.summary)
