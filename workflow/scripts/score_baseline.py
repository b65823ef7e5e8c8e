from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.scoring.score_baseline import score_baseline
    from promptpool.scoring.scorer import ScoredTask

    score_baseline(
        snakemake.output.rows,
        snakemake.output.results,
        ScoredTask(snakemake.wildcards.task, snakemake.params.spec, snakemake.input.labelled, snakemake.input.texts),
        name=snakemake.wildcards.baseline,
        baseline=snakemake.params.baseline,
        vectors=str(snakemake.input.vectors) or None,
    )
