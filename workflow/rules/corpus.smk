rule corpora:
    """Every corpus."""
    input:
        expand(f"{R}/corpora/{{name}}.parquet", name=study["corpora"]),


rule build_corpus:
    """Texts to train on, one per row."""
    input:
        snapshot=lambda w: study.snapshot("corpora", w.name),
        files=lambda w: study.local_files("corpora", w.name),
    output:
        f"{R}/corpora/{{name}}.parquet",
    log:
        f"{R}/logs/build_corpus/{{name}}.log",
    conda:
        "../../envs/main.yaml"
    threads: 4
    params:
        spec=lambda w: study.hub_spec("corpora", w.name),
        code=code_digest("build_corpus"),
    script:
        "../scripts/build_corpus.py"


if study["base_model"]:

    rule train_base_model:
        """The demo's base model, trained from scratch. Not part of `all`: its result is shipped (make base-model)."""
        input:
            f"{R}/corpora/{study['base_model']['corpus']}.parquet",
        output:
            directory(f"{R}/base_model"),
        log:
            f"{R}/logs/train_base_model.log",
        conda:
            "../../envs/main.yaml"
        threads: CORES
        resources:
            gpu=1,
        params:
            spec=lambda w: {**study["base_model"], "seed": study["seed"]},
        script:
            "../scripts/train_base_model.py"
