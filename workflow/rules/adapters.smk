rule adapters:
    """Every adapter."""
    input:
        expand(f"{R}/adapters/{{name}}", name=study.trainings()),


rule choose_negatives:
    """Hard negatives of an adapter's pairs: given ones, or mined among its positives. Only if the adapter asks."""
    input:
        pairs=lambda w: expand(f"{R}/pairs/{{name}}/pairs.parquet", name=study.adapter_pairs(w.name)),
        corpora=lambda w: study.negatives_corpora(w.name),
        snapshot=lambda w: study.negatives_files(w.name)["snapshot"],
        files=lambda w: study.negatives_files(w.name)["files"],
        # As of the pairs: a new task chooses nothing again, and check_training_data looks at it.
        ready=ancient(rules.tasks_ready.output[0]),
    output:
        negatives=f"{R}/negatives/{{name}}/negatives.parquet",
        qc=f"{R}/negatives/{{name}}/qc.json",
        told=f"{R}/negatives/{{name}}/negatives.parquet.meta.json",
    log:
        f"{R}/logs/choose_negatives/{{name}}.log",
    cache: CACHE
    priority: 10
    conda:
        "../../envs/main.yaml"
    resources:
        gpu=lambda w: 1 if study.negatives_model(w.name) else 0,
    params:
        spec=lambda w: study.negatives_spec(w.name),
        tasks=lambda w, output: study.task_texts(),
        execution=lambda w, output: study.execution(),
        code=lambda w: code_digest("choose_negatives", *study.negatives_code(w.name)),
    script:
        "../scripts/choose_negatives.py"


rule train_adapter:
    """LoRA weights of one adapter, at every checkpoint step its config names, in one archive."""
    input:
        pairs=lambda w: expand(f"{R}/pairs/{{name}}/pairs.parquet", name=study.adapter_pairs(w.name)),
        snapshot=lambda w: study.snapshot("models", study.adapter(w.name)["model"]),
        files=lambda w: study.local_files("models", study.adapter(w.name)["model"]),
        members=lambda w: study.adapter_members(w.name),
        negatives=lambda w: study.adapter_negatives(w.name),
        given=lambda w: study.snapshot("adapters", w.name) + study.local_files("adapters", w.name),
    output:
        weights=f"{R}/adapters/{{name}}.tar",  # Snakemake's cache between workflows changes a directory's times
        told=f"{R}/adapters/{{name}}.meta.json",
    log:
        f"{R}/logs/train_adapter/{{name}}.log",
    wildcard_constraints:
        name=r"[^/]+(?<!\.tar)",  # an archive is not an adapter's directory
    cache: CACHE
    # Everything tuned waits for it, so it starts before what only needs the base model.
    priority: 10
    conda:
        "../../envs/main.yaml"
    # Several adapters side by side use the cores better than one after the other.
    threads: max(1, CORES // max(1, min(4, len(study.trainings()))))
    resources:
        gpu=lambda w: study.adapter(w.name)["gpus"],
    params:
        spec=lambda w: study.adapter_spec(w.name),
        template=lambda w: study.template_of(study.adapter(w.name)["prompt"]),
        model=lambda w: study.model(study.adapter(w.name)["model"]),
        execution=lambda w, output: study.execution("adapters", w.name),
        code=code_digest("train_adapter"),
    script:
        "../scripts/train_adapter.py"


rule unpack_adapter:
    """One adapter's directory: a folder per checkpoint step, and the table of its training."""
    input:
        f"{R}/adapters/{{name}}.tar",
    output:
        directory(f"{R}/adapters/{{name}}"),
    log:
        f"{R}/logs/unpack_adapter/{{name}}.log",
    wildcard_constraints:
        name=r"[^/]+(?<!\.tar)",  # an archive is not an adapter's directory
    priority: 10
    conda:
        "../../envs/main.yaml"
    script:
        "../scripts/unpack_adapter.py"


rule check_training_data:
    """Fails the run if an adapter was trained on a text of a task, for example of one added later."""
    input:
        adapter=f"{R}/adapters/{{name}}",
        pairs=lambda w: expand(f"{R}/pairs/{{name}}/pairs.parquet", name=study.adapter_pairs(w.name)),
        negatives=lambda w: study.adapter_negatives(w.name),
        tasks=rules.tasks.input,
    output:
        f"{R}/checks/training_data/{{name}}.json",
    log:
        f"{R}/logs/check_training_data/{{name}}.log",
    priority: 10
    conda:
        "../../envs/main.yaml"
    params:
        spec=lambda w: study.adapter_spec(w.name),
        template=lambda w: study.template_of(study.adapter(w.name)["prompt"]),
        near=lambda w: study.contamination_of(w.name),
        code=code_digest("check_training_data"),
    script:
        "../scripts/check_training_data.py"


JUDGED = study.judged_trainings()


rule verdict:
    """Whether tuning helped, from held-out pairs alone: better, no clear difference, or worse."""
    input:
        study.verdict(),


rule judge_tuning:
    """Recall and nDCG of held-out pairs: tuned against untuned, TF-IDF and BM25."""
    input:
        **study.judged_inputs(),
    output:
        verdict=f"{R}/verdict.json",
        text=report(
            f"{R}/verdict.txt",
            caption="../report/verdict.rst",
            category="Report",
            labels={"figure": "verdict without labels"},
        ),
        pairs=[f"{R}/verdict/pairs.parquet"] if JUDGED else [],
        vectors=study.judged_vectors(),
    log:
        f"{R}/logs/judge_tuning.log",
    conda:
        "../../envs/main.yaml"
    threads: 1 if LOCAL or not JUDGED else min(CORES, 3)
    resources:
        gpu=1 if JUDGED else 0,
    params:
        judged=study.judged_spec(),
        grid=study.judged_grid(),
        model=lambda w: study.model(study.judged_spec()["model"]),
        dtype=study["dtype"],
        execution=lambda w, output: study.execution("embeddings"),
        embedding=code_digest("embed_checkpoint") if JUDGED else None,
        code=code_digest("judge_tuning") if JUDGED else None,
    script:
        "../scripts/judge_tuning.py"
