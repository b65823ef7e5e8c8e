from promptpool.job import job

with job(snakemake.log[0], snakemake.threads):
    from promptpool.curation import select_pairs
    from promptpool.study import Study

    select_pairs(
        snakemake.input.written,
        Study(snakemake.config).task_texts(),
        snakemake.output.pairs,
        snakemake.output.rejected,
        snakemake.output.qc,
        name=snakemake.wildcards.name,
        spec=snakemake.params.spec,
    )
