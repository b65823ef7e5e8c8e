from promptpool.job import job

with job(snakemake.log[0], snakemake.threads):
    from promptpool.tasks import build_task

    build_task(
        snakemake.wildcards.task,
        snakemake.params.spec,
        str(snakemake.input.corpus) or None,
        snakemake.output.labelled,
        snakemake.output.texts,
    )
