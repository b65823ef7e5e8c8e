from promptpool.job import job

with job(snakemake.log[0], snakemake.threads, reads=snakemake.input, writes=snakemake.output):
    from promptpool.drawing import draw

    draw(snakemake.params.kind, list(snakemake.input), snakemake.output.svg)
