from promptpool.job import job

with job(snakemake.log[0], snakemake.threads, reads=snakemake.input, writes=snakemake.output):
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
