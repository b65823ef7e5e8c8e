from promptpool.runtime.job import job_of

folder = snakemake.output.weights.removesuffix(".tar")

with job_of(snakemake, writes=[folder]):
    from pathlib import Path

    from promptpool.artifacts.files import pack_folder
    from promptpool.hub.snapshots import pinned
    from promptpool.training.average_adapters import average_adapters
    from promptpool.training.take_adapter import given_folder, take_adapter
    from promptpool.training.train_adapter import train_adapter

    how, params = dict(snakemake.params.execution), snakemake.params
    where = pinned(params.model, str(snakemake.input.snapshot))
    base = {key: where[key] for key in ("model", "revision")}  # weights fit with and without a causal mask
    if params.spec.get("path"):
        given = given_folder(params.spec["path"], snakemake.input.given)
        take_adapter(given, folder, spec=params.spec, template=params.template, **base)
    elif params.spec.get("mean_of"):
        members = [f"{Path(folder).parent}/{member.replace('@', '/step-')}" for member in params.spec["mean_of"]]
        average_adapters(members, folder, spec=params.spec, template=params.template, **base)
    else:
        train_adapter(
            snakemake.input.pairs,
            folder,
            gpus=how.pop("gpus"),
            device=how.pop("device"),
            execution=how,
            spec=params.spec,
            template=params.template,
            scratch=f"{folder}.scratch",
            negatives=str(snakemake.input.negatives) or None,
            **where,
        )
    pack_folder(folder, snakemake.output.weights)
