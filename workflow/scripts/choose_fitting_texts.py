from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.scoring.choose_fitting_texts import choose_fitting_texts

    given, params = snakemake.input, snakemake.params
    choose_fitting_texts(
        snakemake.output[0],
        dict(zip(params.sources, given.sources, strict=True)),
        dict(zip(params.tasks, given.texts, strict=True)),
        texts=params.most,
        seed=params.seed,
    )
