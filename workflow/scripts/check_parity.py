from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.export.check_parity import check_parity
    from promptpool.hub.snapshots import pinned

    check_parity(
        snakemake.input.exported,
        snakemake.input.texts,
        snakemake.output[0],
        spec=snakemake.params.spec,
        adapter=snakemake.params.adapter,
        template=snakemake.params.template,
        device=snakemake.config.get("device", "auto"),
        **pinned(snakemake.params.model, str(snakemake.input.snapshot)),
    )
