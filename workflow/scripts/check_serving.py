from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.export.check_serving import check_serving

    check_serving(
        snakemake.input.exported,
        *snakemake.output,
        kinds=snakemake.params.serve,
        python=snakemake.config["backends"]["vllm"]["python"],
    )
