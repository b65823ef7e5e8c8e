from promptpool.job import job

with job(snakemake.log[0], snakemake.threads, reads=snakemake.input, writes=snakemake.output):
    from promptpool.comparison import write_ablation

    write_ablation(
        list(snakemake.input.parts),
        list(snakemake.input.facts),
        snakemake.output[0],
        snakemake.wildcards.name,
        snakemake.params.spec,
    )
