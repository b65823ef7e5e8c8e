from promptpool.job import job

with job(snakemake.log[0], snakemake.threads, online=True, reads=snakemake.input, writes=snakemake.output):
    from promptpool.hub_fetch import fetch_snapshot

    fetch_snapshot(snakemake.output[0], snakemake.input[0], snakemake.resources.wanted_by)
