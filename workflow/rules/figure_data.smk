MAP = study.map_spec()
MAPPED = [  # manifest of vectors, and the file's name in it
    study.vectors_of(MAP["model"], adapter, MAP["task"], MAP["prompt"]) for adapter in (MAP["adapters"] if MAP else [])
]


rule map_texts:
    """One task's texts in two dimensions, before and after tuning: coordinates, not colours."""
    input:
        labelled=f"{R}/tasks/{MAP['task']}/labelled.parquet" if MAP else [],
        texts=f"{R}/tasks/{MAP['task']}/texts.parquet" if MAP else [],
        snapshot=study.snapshot("tasks", MAP["task"]) if MAP else [],
        vectors=[manifest for manifest, _ in MAPPED],
    output:
        f"{R}/map.parquet",
    log:
        f"{R}/logs/map_texts.log",
    conda:
        "../../envs/main.yaml"
    params:
        spec=MAP,
        files=[file for _, file in MAPPED],
        task=study.hub_spec("tasks", MAP["task"]) if MAP else None,
        seed=study["seed"],
        code=code_digest("map_texts"),
    script:
        "../scripts/map_texts.py"


rule measure_costs:
    """The cost of a text under each prompt up to each layer, from the model's shape and the texts' tokens."""
    input:
        texts=expand(f"{R}/tasks/{{task}}/texts.parquet", task=study["tasks"]),
        snapshot=lambda w: study.snapshot("models", w.model),
    output:
        f"{R}/costs/{{model}}.parquet",
    log:
        f"{R}/logs/measure_costs/{{model}}.log",
    conda:
        "../../envs/main.yaml"
    params:
        tasks=list(study["tasks"]),
        model=lambda w: study.model(w.model),
        spec=study.costs_spec(),
        code=code_digest("measure_costs"),
    script:
        "../scripts/measure_costs.py"
