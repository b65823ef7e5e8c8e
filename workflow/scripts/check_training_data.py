from promptpool.runtime.job import job_of

with job_of(snakemake):
    from pathlib import Path

    from promptpool.pairs.check_training_data import check_training_data

    check_training_data(
        str(snakemake.input.adapter),
        list(snakemake.input.pairs),
        {Path(path).parent.name: path for path in snakemake.input.tasks},
        snakemake.output[0],
        spec={**snakemake.params.spec, "template": snakemake.params.template},
        near=snakemake.params.near,
        negatives=str(snakemake.input.negatives) or None,
    )
