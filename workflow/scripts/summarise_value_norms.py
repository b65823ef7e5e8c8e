from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.attention.summarise_value_norms import summarise_value_norms

    given, made = snakemake.input, snakemake.output
    summarise_value_norms(list(given.parts), given.attention, made.table, made.summary)
