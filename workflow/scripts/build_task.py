from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.tasks.build_task import build_task

    build_task(
        snakemake.wildcards.task,
        snakemake.params.spec,
        str(snakemake.input.corpus) or None,
        snakemake.output.labelled,
        snakemake.output.texts,
    )
