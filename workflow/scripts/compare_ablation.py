from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.analysis.compare_ablation import compare_ablation

    compare_ablation(
        list(snakemake.input.parts),
        list(snakemake.input.facts),
        snakemake.output[0],
        snakemake.wildcards.name,
        snakemake.params.spec,
    )
