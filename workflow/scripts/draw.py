from promptpool.job import job

with job(snakemake.log[0], snakemake.threads):
    from promptpool.drawing import draw

    options = dict(snakemake.params.get("options", {}))
    draw(snakemake.params.kind, list(snakemake.input), snakemake.output.svg, options)
