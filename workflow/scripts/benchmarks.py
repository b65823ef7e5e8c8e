from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.analysis.comparison import write_benchmarks

    write_benchmarks(snakemake.input[0], snakemake.output[0], snakemake.params.benchmarks)
