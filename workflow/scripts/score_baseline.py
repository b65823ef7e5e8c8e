from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.scoring.score_baseline import score_baseline
    from promptpool.scoring.scored_task import scored_tasks

    given = snakemake.input
    score_baseline(
        snakemake.output[0],
        scored_tasks(snakemake.params.tasks, given.labelled, given.texts),
        name=snakemake.wildcards.baseline,
        baseline=snakemake.params.baseline,
        vectors=str(given.vectors) or None,
        workers=snakemake.threads,
        code=snakemake.params.code,
    )
