from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.analysis.summarise_scores import summarise_scores

    summarise_scores(
        snakemake.input.scores,
        list(snakemake.input.facts),
        snakemake.output.table,
        snakemake.output.text,
        run=snakemake.params.run,
        exports=snakemake.params.exports,
        prompts=snakemake.params.prompts,
        seeds=snakemake.params.seeds,
        tables=list(snakemake.input.tables),
        verdict=next(iter(snakemake.input.verdict), None),
        trainings=list(snakemake.input.trainings),
        judged=snakemake.params.judged,
        choice=list(snakemake.input.choice),
    )
