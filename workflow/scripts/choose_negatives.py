from promptpool.runtime.job import job_of

given, tasks = snakemake.input, snakemake.params.tasks

with job_of(snakemake, reads=[*given.pairs, *given.corpora, *tasks.values()]):
    from promptpool.hub.snapshots import pinned
    from promptpool.pairs.choose_negatives import choose_negatives, encoder_by

    params, judge = snakemake.params, snakemake.params.spec["model"]
    choose_negatives(
        snakemake.output.negatives,
        snakemake.output.qc,
        pairs=list(given.pairs),
        corpora=list(given.corpora),
        tasks=tasks,
        name=snakemake.wildcards.name,
        spec=params.spec,
        encode=encoder_by(pinned(judge, str(given.snapshot)), params.execution["device"]) if judge else None,
    )
