from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.attention.measure_attention import run_attention
    from promptpool.hub.snapshots import pinned
    from promptpool.tasks.build_task import sample_texts

    spec = dict(snakemake.params.spec)
    run_attention(
        snakemake.output[0],
        adapter=snakemake.params.adapter,
        adapter_id=snakemake.wildcards.adapter,
        model_name=snakemake.wildcards.model,
        prompts=snakemake.params.prompts,
        texts=sample_texts(snakemake.input.texts, spec["texts"], spec["seed"]),
        dtype=spec.pop("dtype"),
        spec=spec,
        device=snakemake.config.get("device", "auto"),
        **pinned(snakemake.params.model, str(snakemake.input.snapshot)),
    )
