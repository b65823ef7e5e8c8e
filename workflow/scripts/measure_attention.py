from promptpool.job import job

with job(snakemake.log[0], snakemake.threads, reads=snakemake.input, writes=snakemake.output):
    from promptpool.attention import run_attention
    from promptpool.hub import pinned
    from promptpool.tasks import sample_texts

    spec = snakemake.params.spec
    run_attention(
        snakemake.output[0],
        adapter=snakemake.params.adapter,
        adapter_id=snakemake.wildcards.adapter,
        model_name=snakemake.wildcards.model,
        prompt_name=snakemake.wildcards.prompt,
        template=snakemake.params.template,
        texts=sample_texts(snakemake.input.texts, spec["texts"], spec["seed"]),
        sentence=spec["sentence"],
        layers=spec["layers"],
        max_text_tokens=spec["max_text_tokens"],
        device=snakemake.config.get("device", "auto"),
        **pinned(snakemake.params.model, str(snakemake.input.snapshot)),
    )
