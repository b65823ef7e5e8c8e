from promptpool.job import job

with job(snakemake.log[0], snakemake.threads):
    from promptpool.artifacts import unpack

    unpack(snakemake.input[0], snakemake.output[0])
