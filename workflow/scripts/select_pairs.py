from promptpool.runtime.job import job_of

tasks = snakemake.params.tasks

with job_of(snakemake, reads=[snakemake.input.written, *tasks.values()]):
    from promptpool.pairs.select_pairs import select_pairs

    select_pairs(
        snakemake.input.written,
        tasks,
        snakemake.output.pairs,
        snakemake.output.rejected,
        snakemake.output.qc,
        name=snakemake.wildcards.name,
        spec=snakemake.params.spec,
    )
