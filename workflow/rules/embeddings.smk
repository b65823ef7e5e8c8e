import re

STATES = [
    f"{model}/{adapter}/{task}/{family}"
    for model, adapter in study.states()
    for task in study["tasks"]
    for family in study.embedded()
]


rule embeddings:
    """Every embedding: model x adapter x task x family of prompts."""
    input:
        [f"{R}/embeddings/{state}.safetensors" for state in STATES],


rule embed_family:
    """One forward pass over one task's texts: every prompt of a family, every pooling, every layer."""
    input:
        texts=f"{R}/tasks/{{task}}/texts.parquet",
        adapter=lambda w: study.adapter_input(w.adapter),
        snapshot=lambda w: study.snapshot("models", w.model),
        files=lambda w: study.local_files("models", w.model),
    output:
        vectors=f"{R}/embeddings/{{model}}/{{adapter}}/{{task}}/{{family}}.safetensors",
        told=f"{R}/embeddings/{{model}}/{{adapter}}/{{task}}/{{family}}.safetensors.meta.json",
    log:
        f"{R}/logs/embed_family/{{model}}/{{adapter}}/{{task}}/{{family}}.log",
    cache: CACHE
    conda:
        "../../envs/main.yaml"
    resources:
        gpu=1,
    params:
        grid=study.grid_spec(),
        prompts=lambda w: study.family_prompts(w.family),
        model=lambda w: study.model(w.model),
        adapter=lambda w: study.adapter_path(w.adapter),
        dtype=study["dtype"],
        execution=lambda w, output: study.execution(),
        code=code_digest("embed_family"),
    script:
        "../scripts/embed_family.py"


if study["ensembles"]:

    ruleorder: embed_ensemble > embed_family

    rule embed_ensemble:
        """The mean over several prompts' vectors, from their files: no forward pass."""
        input:
            lambda w: [
                f"{R}/embeddings/{w.model}/{w.adapter}/{w.task}/{family}.safetensors"
                for family in study.ensemble_families(w.ensemble)
            ],
        output:
            f"{R}/embeddings/{{model}}/{{adapter}}/{{task}}/ensemble-{{ensemble}}.safetensors",
        log:
            f"{R}/logs/embed_ensemble/{{model}}/{{adapter}}/{{task}}/{{ensemble}}.log",
        wildcard_constraints:
            ensemble="|".join(map(re.escape, study["ensembles"])),
        conda:
            "../../envs/main.yaml"
        params:
            prompts=lambda w: study["ensembles"][w.ensemble]["prompts"],
            storage=study["grid"]["storage"],
            code=code_digest("embed_ensemble"),
        script:
            "../scripts/embed_ensemble.py"
