from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.hub.snapshots import pinned
    from promptpool.models.checkpoint import Checkpoint
    from promptpool.scoring.judge_tuning import Judged, judge_tuning

    given, params, how = snakemake.input, snakemake.params, dict(snakemake.params.execution)
    spec = dict(params.judged)
    spec["seeds"] = dict(zip(spec["seeds"], given.adapters, strict=True))
    spec["sets"] = {
        name: (path, said) for (name, said), path in zip(spec["sets"].items(), given.pairs or spec["sets"], strict=True)
    }
    judge_tuning(
        snakemake.output.verdict,
        snakemake.output.text,
        judged=Judged(**spec),
        checkpoint=Checkpoint(**pinned(params.model, str(given.snapshot)), dtype=params.dtype, device=how["device"]),
        grid=params.grid,
        fuse=how["fuse"],
        embedding_code=params.embedding,
    )
