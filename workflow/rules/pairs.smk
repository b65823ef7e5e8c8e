rule pairs:
    """Every set of positive pairs, checked against the tasks' texts."""
    input:
        expand(f"{R}/pairs/{{name}}/overlap.json", name=study["pairs"]),


rule make_pairs:
    """Positive pairs: anchors from a corpus, a positive for each, filters that count what they drop."""
    input:
        corpus=lambda w: study.corpus_of("pairs", w.name),
        snapshot=lambda w: study.snapshot("models", study["pairs"][w.name].get("model")),
    output:
        pairs=f"{R}/pairs/{{name}}/pairs.parquet",
        rejected=f"{R}/pairs/{{name}}/rejected.parquet",
        qc=f"{R}/pairs/{{name}}/qc.json",
    log:
        f"{R}/logs/make_pairs/{{name}}.log",
    priority: 10
    conda:
        "../../envs/main.yaml"
    resources:
        gpu=1,
    params:
        spec=lambda w: study.pairs_spec(w.name),
        model=lambda w: study.pairs_model(w.name),
        code=code_digest("synthesis"),
    script:
        "../scripts/make_pairs.py"


rule check_overlap:
    """Fails the run if a training text is also a task's text."""
    input:
        pairs=f"{R}/pairs/{{name}}/pairs.parquet",
        tasks=rules.tasks.input,
    output:
        f"{R}/pairs/{{name}}/overlap.json",
    log:
        f"{R}/logs/check_overlap/{{name}}.log",
    priority: 10
    conda:
        "../../envs/main.yaml"
    params:
        code=code_digest("overlap"),
    script:
        "../scripts/check_overlap.py"
