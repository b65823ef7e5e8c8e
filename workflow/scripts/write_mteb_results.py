from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.scoring.write_mteb_results import write_mteb_results

    write_mteb_results(list(snakemake.input), snakemake.output[0])
