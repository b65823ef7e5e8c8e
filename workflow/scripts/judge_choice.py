from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.choice.judge_choice import judge_choice

    given, params = snakemake.input, snakemake.params
    judge_choice(
        snakemake.output.outcome,
        snakemake.output.agreement,
        candidates=given.candidates,
        pairs=given.pairs,
        scores=given.scores,
        facts=list(given.facts),
        texts=dict(zip(params.tasks, given.texts, strict=True)),
        paper=params.paper,
        seeds=params.seeds,
    )
