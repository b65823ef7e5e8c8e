from promptpool.job import job

with job(snakemake.log[0], snakemake.threads, reads=snakemake.input, writes=snakemake.output):
    from promptpool.mteb_results import write_layout

    write_layout(list(snakemake.input), snakemake.output[0])
