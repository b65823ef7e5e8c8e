from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.figures.draw import draw

    params = snakemake.params
    inputs = {argument: list(files) for argument, files in snakemake.input.items()}
    draw(params.kind, params.drawing, inputs, snakemake.output.svg, params.options)
