ATTENTION = [
    f"{R}/attention/{model}/{adapter}/{prompt}.parquet"
    for model, adapter in study.attention_states()
    for prompt in (study["attention"] or {"prompts": []})["prompts"]
]


rule attention:
    """The last token's attention, for base and each checkpoint."""
    input:
        f"{R}/attention.parquet" if ATTENTION else [],


rule measure_attention:
    """Where one checkpoint's last token looks, under one prompt, token by token."""
    input:
        texts=f"{R}/tasks/{study['attention']['task']}/texts.parquet" if ATTENTION else [],
        adapter=lambda w: study.adapter_input(w.adapter),
        snapshot=lambda w: study.snapshot("models", w.model),
        files=lambda w: study.local_files("models", w.model),
    output:
        f"{R}/attention/{{model}}/{{adapter}}/{{prompt}}.parquet",
    log:
        f"{R}/logs/measure_attention/{{model}}/{{adapter}}/{{prompt}}.log",
    conda:
        "../../envs/main.yaml"
    resources:
        gpu=1,
    params:
        spec=study.attention_spec(),
        template=lambda w: study["prompts"][w.prompt],
        model=lambda w: study.model(w.model),
        adapter=lambda w: study.adapter_path(w.adapter),
        code=code_digest("attention"),
    script:
        "../scripts/measure_attention.py"


rule gather_attention:
    """All checkpoints' attention as one table."""
    input:
        ATTENTION,
    output:
        f"{R}/attention.parquet",
    log:
        f"{R}/logs/gather_attention.log",
    conda:
        "../../envs/main.yaml"
    params:
        sort_by=["model", "adapter", "step", "prompt", "layer", "text_id", "position"],
        code=code_digest("gathering"),
    script:
        "../scripts/gather.py"
