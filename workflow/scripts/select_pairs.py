from promptpool.job import job

with job(snakemake.log[0], snakemake.threads):
    from pathlib import Path

    from promptpool.curation import select_pairs

    select_pairs(
        snakemake.input.written,
        {Path(path).parent.name: path for path in snakemake.input.tasks},
        snakemake.output.pairs,
        snakemake.output.rejected,
        snakemake.output.qc,
        name=snakemake.wildcards.name,
        spec=snakemake.params.spec,
    )
