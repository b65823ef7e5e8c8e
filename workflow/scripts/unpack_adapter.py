from promptpool.job import job_of

with job_of(snakemake, writes=[]):
    from promptpool.artifacts import unpack
    from promptpool.integrity import verify

    unpack(snakemake.input[0], snakemake.output[0])
    verify(snakemake.output)  # against what training wrote
