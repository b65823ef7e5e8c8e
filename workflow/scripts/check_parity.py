from promptpool.job import job

with job(snakemake.log[0], snakemake.threads):
    from promptpool.export import check_parity
    from promptpool.hub import pinned

    check_parity(
        snakemake.input.exported,
        snakemake.input.texts,
        snakemake.output[0],
        spec=snakemake.params.spec,
        adapter=snakemake.params.adapter,
        template=snakemake.params.template,
        **pinned(snakemake.params.model, str(snakemake.input.snapshot)),
    )
