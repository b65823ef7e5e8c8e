from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.choice.hold_out_pairs import hold_out_pairs

    hold_out_pairs(
        snakemake.output.pairs,
        snakemake.output.texts,
        dict(zip(snakemake.params.sets, snakemake.input, strict=True)),
        snakemake.params.trainings,
    )
