from promptpool.job import job_of

with job_of(snakemake):
    from promptpool.comparison import write_headline

    write_headline(
        snakemake.input.scores,
        list(snakemake.input.facts),
        snakemake.output.table,
        snakemake.output.text,
        run=snakemake.params.run,
        exports=snakemake.params.exports,
        prompts=snakemake.params.prompts,
    )
