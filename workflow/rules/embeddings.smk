rule embeddings:
    """Every embedding: of every model, checkpoint, task, prompt, pooling and layer."""
    input:
        [f"{R}/embeddings/{job}.json" for job in study.grid_jobs()],


rule embed_checkpoint:
    """Every task's texts under one checkpoint: one forward pass serves a family of prompts, all poolings and layers."""
    input:
        texts=lambda w: study.embedded_files(w.share, w.model, w.adapter),
        adapter=lambda w: study.adapter_input(w.adapter),
        snapshot=lambda w: study.snapshot("models", w.model),
        files=lambda w: study.local_files("models", w.model),
    output:
        f"{R}/embeddings/{{model}}/{{adapter}}/{{share}}.json",
    log:
        f"{R}/logs/embed_checkpoint/{{model}}/{{adapter}}/{{share}}.log",
    conda:
        "../../envs/main.yaml"
    # Beside a GPU, one thread tokenizes ahead and one writes: a cluster gives a job no other cores than it asks for. On
    # one machine they find a free core, and jobs run side by side on the others.
    threads: 1 if LOCAL else min(CORES, 3)
    resources:
        gpu=1,
    params:
        **study.chunk_params(),
        tasks=lambda w: study.embedded_tasks(w.share, w.model, w.adapter),
        grid=study.grid_spec(),
        families=study.grid_families(),
        ensembles=study.ensembles(),
        model=lambda w: study.model(w.model),
        adapter=lambda w: study.adapter_path(w.adapter),
        dtype=study["dtype"],
        execution=lambda w, output: study.execution("embeddings"),
        code=code_digest("embed_checkpoint"),
    script:
        "../scripts/embed_checkpoint.py"
