from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.hub.snapshots import pinned
    from promptpool.models.checkpoint import Checkpoint
    from promptpool.pairs.make_pairs import closeness_by, make_pairs

    params, how = snakemake.params, dict(snakemake.params.execution)
    device, closeness, semantic = how.pop("device"), None, params.spec["filters"]["semantic"]
    if semantic:
        closeness = closeness_by(pinned(semantic, str(snakemake.input.judge)), device)
    model = pinned(params.model, str(snakemake.input.snapshot)) if params.model else None
    make_pairs(
        snakemake.input.corpus[0],
        snakemake.output[0],
        name=snakemake.wildcards.name,
        spec=params.spec,
        writer=Checkpoint(**model, device=device) if model else None,
        code=params.code,
        closeness=closeness,
        **how,
    )
