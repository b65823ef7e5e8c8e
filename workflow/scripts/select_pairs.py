from promptpool.job import job
from promptpool.study import Study

tasks = Study(snakemake.config).task_texts()

with job(
    snakemake.log[0],
    snakemake.threads,
    reads=[snakemake.input.written, *tasks.values()],
    writes=snakemake.output,
):
    from promptpool.curation import select_pairs

    select_pairs(
        snakemake.input.written,
        tasks,
        snakemake.output.pairs,
        snakemake.output.rejected,
        snakemake.output.qc,
        name=snakemake.wildcards.name,
        spec=snakemake.params.spec,
    )
