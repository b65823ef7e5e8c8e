from promptpool.runtime.job import job_of
from promptpool.study.study import Study

tasks = Study(snakemake.config).task_texts()

with job_of(snakemake, reads=[snakemake.input.written, *tasks.values()]):
    from promptpool.pairs.curation import select_pairs

    select_pairs(
        snakemake.input.written,
        tasks,
        snakemake.output.pairs,
        snakemake.output.rejected,
        snakemake.output.qc,
        name=snakemake.wildcards.name,
        spec=snakemake.params.spec,
    )
