from promptpool.job import job

with job(snakemake.log[0], snakemake.threads):
    from promptpool.overlap import check_training_data

    spec = {**snakemake.params.spec, "template": snakemake.params.template}
    check_training_data(str(snakemake.input.adapter), snakemake.input.pairs, snakemake.output[0], spec)
