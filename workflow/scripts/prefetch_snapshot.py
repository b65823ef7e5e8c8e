from promptpool.job import job

with job(snakemake.log[0], snakemake.threads, online=True):
    from promptpool.hub_fetch import fetch_snapshot

    wanted = snakemake.wildcards
    fetch_snapshot(snakemake.output[0], f"{wanted.section}/{wanted.entry}", snakemake.params.need)
