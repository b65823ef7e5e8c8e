from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.scoring.score_family import score_family
    from promptpool.scoring.scorer import ScoredTask

    score_family(
        snakemake.output.rows,
        snakemake.output.results,
        ScoredTask(snakemake.wildcards.task, snakemake.params.spec, snakemake.input.labelled, snakemake.input.texts),
        vectors=snakemake.input.vectors,
        model=snakemake.wildcards.model,
        adapter=snakemake.wildcards.adapter,
    )
