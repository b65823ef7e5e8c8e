from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.scoring.score_family import score_family

    score_family(
        snakemake.output.rows,
        snakemake.output.results,
        task=snakemake.wildcards.task,
        spec=snakemake.params.spec,
        labelled=snakemake.input.labelled,
        texts=snakemake.input.texts,
        vectors=snakemake.input.vectors,
        model=snakemake.wildcards.model,
        adapter=snakemake.wildcards.adapter,
    )
