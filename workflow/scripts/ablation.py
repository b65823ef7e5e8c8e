from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.analysis.comparison import write_ablation

    write_ablation(
        list(snakemake.input.parts),
        list(snakemake.input.facts),
        snakemake.output[0],
        snakemake.wildcards.name,
        snakemake.params.spec,
    )
