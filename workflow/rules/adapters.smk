rule adapters:
    """Every adapter."""
    input:
        expand(f"{R}/adapters/{{name}}", name=study["adapters"]),


rule train_adapter:
    """LoRA weights of one adapter, at every checkpoint step its config names."""
    input:
        pairs=lambda w: expand(f"{R}/pairs/{{name}}/pairs.parquet", name=study["adapters"][w.name]["pairs"]),
        # A new task renews the check; it does not train again.
        overlap=lambda w: ancient(expand(f"{R}/pairs/{{name}}/overlap.json", name=study["adapters"][w.name]["pairs"])),
        snapshot=lambda w: study.snapshot("models", study["adapters"][w.name]["model"]),
    output:
        directory(f"{R}/adapters/{{name}}"),
    log:
        f"{R}/logs/train_adapter/{{name}}.log",
    # All that is tuned waits for it: it starts before what only needs the base model.
    priority: 10
    conda:
        "../../envs/main.yaml"
    # Several adapters side by side use the cores better than one after the other.
    threads: max(1, workflow.cores // max(1, min(4, len(study["adapters"]))))
    resources:
        gpu=1,
    params:
        spec=lambda w: study.adapter_spec(w.name),
        template=lambda w: study["prompts"][study["adapters"][w.name]["prompt"]],
        model=lambda w: study.model(study["adapters"][w.name]["model"]),
        code=code_digest("training"),
    script:
        "../scripts/train_adapter.py"
