from promptpool.runtime.job import job_of

with job_of(snakemake):
    from pathlib import Path

    from promptpool.hub.snapshots import pinned
    from promptpool.pairs.make_pairs import closeness_by, make_pairs
    from promptpool.study.study import Study

    name, study = snakemake.wildcards.name, Study(snakemake.config)
    spec, closeness = snakemake.params.spec, None
    if spec["filters"]["semantic"]:
        judge = pinned(spec["filters"]["semantic"], str(snakemake.input.judge))
        closeness = closeness_by(judge, study["device"])
    make_pairs(
        snakemake.input.corpus[0],
        snakemake.output[0],
        name=name,
        spec=spec,
        shards=str(Path(snakemake.output[0]).parent / "shards"),
        shard_size=study["pairs"][name]["shard_size"],
        options=study.backend_options(name),
        device=study["device"],
        code=snakemake.params.code,
        closeness=closeness,
        **pinned(snakemake.params.model, str(snakemake.input.snapshot)),
    )
