from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.scoring.score_baseline import score_baseline

    score_baseline(
        snakemake.output.rows,
        snakemake.output.results,
        task=snakemake.wildcards.task,
        spec=snakemake.params.spec,
        labelled=snakemake.input.labelled,
        texts=snakemake.input.texts,
        name=snakemake.wildcards.baseline,
        baseline=snakemake.params.baseline,
        vectors=str(snakemake.input.vectors) or None,
    )
