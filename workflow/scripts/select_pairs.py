from promptpool.runtime.job import job_of

tasks = snakemake.params.tasks

with job_of(snakemake, reads=[snakemake.input.written, *snakemake.input.corpus, *tasks.values()]):
    from promptpool.hub.snapshots import pinned
    from promptpool.pairs.select_pairs import ranks_by, select_pairs

    given, params, name = snakemake.input, snakemake.params, snakemake.wildcards.name
    ranks = None
    if given.corpus:
        finder = params.spec["round_trip"]["model"]
        finder = pinned(finder, str(given.snapshot)) if finder else None
        ranks = ranks_by(params.spec, given.corpus[0], f"pairs.{name}", finder, params.execution["device"])
    select_pairs(
        given.written,
        tasks,
        snakemake.output.pairs,
        snakemake.output.rejected,
        snakemake.output.qc,
        name=name,
        spec=params.spec,
        ranks=ranks,
    )
