from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.analysis.average_benchmarks import average_benchmarks

    average_benchmarks(snakemake.input[0], snakemake.output[0], snakemake.params.benchmarks)
