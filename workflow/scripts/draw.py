from promptpool.job import job_of

with job_of(snakemake):
    from promptpool.drawing import draw

    options = dict(snakemake.params.get("options", {}))
    draw(snakemake.params.kind, list(snakemake.input), snakemake.output.svg, options)
