from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.scoring.score_checkpoint import score_checkpoint
    from promptpool.scoring.scored_task import scored_tasks

    given = snakemake.input
    score_checkpoint(
        snakemake.output[0],
        scored_tasks(snakemake.params.tasks, given.labelled, given.texts),
        vectors=given.vectors,
        model=snakemake.wildcards.model,
        adapter=snakemake.wildcards.adapter,
        roles=snakemake.params.get("roles", {}),
        max_sim=snakemake.params.get("max_sim", []),
        workers=snakemake.threads,
        code=snakemake.params.code,
    )
