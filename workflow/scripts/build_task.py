from promptpool.job import job

with job(snakemake.log[0], snakemake.threads, reads=snakemake.input, writes=snakemake.output):
    from promptpool.tasks import build_task

    build_task(
        snakemake.wildcards.task,
        snakemake.params.spec,
        str(snakemake.input.corpus) or None,
        snakemake.output.labelled,
        snakemake.output.texts,
    )
