from promptpool.runtime.job import job_of

with job_of(snakemake, reads=[], writes=[]):
    from promptpool.artifacts.integrity import unpack_sealed

    unpack_sealed(snakemake.input[0], snakemake.output[0])
