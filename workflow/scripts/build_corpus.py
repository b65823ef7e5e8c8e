from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.data.build_corpus import build_corpus

    build_corpus(snakemake.output[0], snakemake.params.spec, workers=snakemake.threads)
