from promptpool.job import job_of

with job_of(snakemake, reads=[], writes=[]):
    from promptpool.integrity import unpack_sealed

    unpack_sealed(snakemake.input[0], snakemake.output[0])
