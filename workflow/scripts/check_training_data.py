from promptpool.job import job

with job(snakemake.log[0], snakemake.threads, reads=snakemake.input, writes=snakemake.output):
    from pathlib import Path

    from promptpool.overlap import check_training_data

    check_training_data(
        str(snakemake.input.adapter),
        list(snakemake.input.pairs),
        {Path(path).parent.name: path for path in snakemake.input.tasks},
        snakemake.output[0],
        spec={**snakemake.params.spec, "template": snakemake.params.template},
        near=snakemake.params.near,
    )
