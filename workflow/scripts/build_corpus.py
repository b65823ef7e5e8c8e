from promptpool.job import job

with job(snakemake.log[0], snakemake.threads, reads=snakemake.input, writes=snakemake.output):
    from promptpool.corpus import build_corpus

    build_corpus(snakemake.output[0], snakemake.params.spec, workers=snakemake.threads)
