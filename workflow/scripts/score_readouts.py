from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.scoring.score_readouts import score_readouts
    from promptpool.scoring.scored_task import scored_tasks

    given = snakemake.input
    score_readouts(
        snakemake.output[0],
        scored_tasks(snakemake.params.tasks, given.labelled, given.texts),
        vectors=given.vectors,
        statistics=given.statistics,
        fitted_on=given.fitted_on,
        model=snakemake.wildcards.model,
        adapter=snakemake.wildcards.adapter,
        readouts=snakemake.params.readouts,
        lexical=dict(zip(snakemake.params.get("lexical", []), given.lexical, strict=True)),
        max_sim=snakemake.params.get("max_sim", []),
        workers=snakemake.threads,
        code=snakemake.params.code,
    )
