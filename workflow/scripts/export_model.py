from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.export.export_model import export_model
    from promptpool.hub.snapshots import pinned

    export_model(
        snakemake.output[0],
        name=snakemake.wildcards.name,
        spec=snakemake.params.spec,
        adapter=snakemake.params.adapter,
        template=snakemake.params.template,
        headline=snakemake.input.summary,
        facts=list(snakemake.input.facts),
        qc=list(snakemake.input.qc),
        pairs=snakemake.params.pairs,
        recipe=snakemake.params.recipe,
        **pinned(snakemake.params.model, str(snakemake.input.snapshot)),
    )
