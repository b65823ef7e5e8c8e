from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.tasks.write_search import write_search

    write_search(
        str(snakemake.input.pairs),
        str(snakemake.input.corpus),
        {part: str(getattr(snakemake.output, part)) for part in ("queries", "documents", "qrels")},
        name=snakemake.wildcards.task,
        spec=snakemake.params.spec,
    )
