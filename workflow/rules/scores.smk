rule scores:
    """scores.parquet: every measurement, one row each."""
    input:
        f"{R}/scores.parquet",


rule score_family:
    """MTEB's scores of one embeddings file, every bootstrap kept."""
    input:
        labelled=f"{R}/tasks/{{task}}/labelled.parquet",
        texts=f"{R}/tasks/{{task}}/texts.parquet",
        snapshot=lambda w: study.snapshot("tasks", w.task),
        vectors=f"{R}/embeddings/{{model}}/{{adapter}}/{{task}}/{{family}}.safetensors",
    output:
        f"{R}/scores/{{model}}/{{adapter}}/{{task}}/{{family}}.parquet",
    log:
        f"{R}/logs/score_family/{{model}}/{{adapter}}/{{task}}/{{family}}.log",
    conda:
        "../../envs/main.yaml"
    params:
        spec=lambda w: study.hub_spec("tasks", w.task),
        code=code_digest("scoring"),
    script:
        "../scripts/score_family.py"


rule score_baselines:
    """The baselines' scores on one task."""
    input:
        labelled=f"{R}/tasks/{{task}}/labelled.parquet",
        texts=f"{R}/tasks/{{task}}/texts.parquet",
        snapshot=lambda w: study.snapshot("tasks", w.task),
    output:
        f"{R}/scores/baselines/{{task}}.parquet",
    log:
        f"{R}/logs/score_baselines/{{task}}.log",
    conda:
        "../../envs/main.yaml"
    params:
        spec=lambda w: study.hub_spec("tasks", w.task),
        baselines=study["baselines"],
        code=code_digest("scoring"),
    script:
        "../scripts/score_baselines.py"


rule gather_scores:
    """All parts as one table."""
    input:
        [f"{R}/scores/{state}.parquet" for state in STATES],
        expand(f"{R}/scores/baselines/{{task}}.parquet", task=study["tasks"]),
    output:
        f"{R}/scores.parquet",
    log:
        f"{R}/logs/gather_scores.log",
    conda:
        "../../envs/main.yaml"
    params:
        sort_by=["model", "adapter", "step", "prompt", "pooling", "layer", "task", "split", "subset", "level", "metric"],
        code=code_digest("gathering"),
    script:
        "../scripts/gather.py"


rule ablations:
    """Every ablation table."""
    input:
        expand(f"{R}/ablations/{{name}}.parquet", name=study["ablations"]),


rule ablation:
    """What one varied thing does: paired differences to its baseline, with intervals."""
    input:
        f"{R}/scores.parquet",
    output:
        f"{R}/ablations/{{name}}.parquet",
    log:
        f"{R}/logs/ablation/{{name}}.log",
    conda:
        "../../envs/main.yaml"
    params:
        spec=lambda w: study["ablations"][w.name],
        code=code_digest("comparison"),
    script:
        "../scripts/ablation.py"


rule summary:
    """The headline table: floors, best untuned, best tuned, what was gained."""
    input:
        f"{R}/scores.parquet",
    output:
        table=f"{R}/summary.parquet",
        text=f"{R}/summary.txt",
    log:
        f"{R}/logs/summary.log",
    conda:
        "../../envs/main.yaml"
    params:
        run=study["run"],
        exports=study["exports"],
        prompts=study.prompts,
        code=code_digest("comparison"),
    script:
        "../scripts/summary.py"
