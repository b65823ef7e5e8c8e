from promptpool.job import job

with job(
    snakemake.log[0],
    snakemake.threads,
    gpus=snakemake.resources.get("gpu", 0),
    jobs_per_gpu=snakemake.config.get("jobs_per_gpu", 1),
):
    from promptpool.attention import run_attention
    from promptpool.hub import pinned
    from promptpool.tasks import sample_texts

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
