EMBEDDINGS = [
    f"{R}/embeddings/{model}/{adapter}/{task}/{family}.safetensors"
    for model, adapter in study.states()
    for task in study["tasks"]
    for family in study.families
]


rule embeddings:
    """Every embedding: model x adapter x task x family of prompts."""
    input:
        EMBEDDINGS,


rule embed_family:
    """One forward pass over one task's texts: every prompt of a family, every pooling, every layer."""
    input:
        texts=f"{R}/tasks/{{task}}/texts.parquet",
        adapter=lambda w: study.adapter_input(w.adapter),
    output:
        f"{R}/embeddings/{{model}}/{{adapter}}/{{task}}/{{family}}.safetensors",
    log:
        f"{R}/logs/embed_family/{{model}}/{{adapter}}/{{task}}/{{family}}.log",
    params:
        grid=study.grid_spec(),
        prompts=lambda w: study.family_prompts(w.family),
        model=lambda w: study.model(w.model),
        adapter=lambda w: study.adapter_path(w.adapter),
        code=code_digest("backbone", "embedder", "embedding", "forward", "packing", "pooling", "templates"),
    resources:
        gpu=1,
    script:
        "../scripts/embed_family.py"
