from promptpool.job import job

with job(snakemake.log[0], snakemake.threads, reads=snakemake.input, writes=snakemake.output):
    from promptpool.comparison import write_benchmarks

    write_benchmarks(snakemake.input[0], snakemake.output[0], snakemake.params.benchmarks)
