from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.figures.draw import draw

    options = dict(snakemake.params.get("options", {}))
    draw(snakemake.params.kind, list(snakemake.input), snakemake.output.svg, options)
