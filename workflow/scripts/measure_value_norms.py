from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.attention.measure_value_norms import measure_value_norms
    from promptpool.hub.snapshots import pinned
    from promptpool.models.checkpoint import Checkpoint
    from promptpool.tasks.build_task import sample_texts

    params, spec = snakemake.params, snakemake.params.spec
    measure_value_norms(
        snakemake.output[0],
        checkpoint=Checkpoint(
            **pinned(params.model, str(snakemake.input.snapshot)),
            adapter=params.adapter,
            dtype=params.dtype,
            **params.execution,
        ),
        model_name=snakemake.wildcards.model,
        adapter_id=snakemake.wildcards.adapter,
        prompts=params.prompts,
        texts=sample_texts(snakemake.input.texts, spec["texts"], spec["seed"]),
        spec=spec,
    )
