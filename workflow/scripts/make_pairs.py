from promptpool.job import job

with job(snakemake.log[0], snakemake.threads):
    from promptpool.hub import pinned
    from promptpool.synthesis import make_pairs

    make_pairs(
        str(snakemake.input.corpus),
        snakemake.output.pairs,
        snakemake.output.rejected,
        snakemake.output.qc,
        name=snakemake.wildcards.name,
        spec=snakemake.params.spec,
        device=snakemake.config.get("device", "auto"),
        **pinned(snakemake.params.model, str(snakemake.input.snapshot)),
    )
