rule models:
    """Every exported model, checked to equal the pipeline, and what servers give of it where the study asks for that."""
    input:
        expand(f"{R}/parity/{{name}}.json", name=study["exports"]),
        expand(f"{R}/serving/{{name}}.json", name=study.served_exports()),


rule export_model:
    """One variant as a directory that plain sentence-transformers loads."""
    input:
        adapter=lambda w: study.adapter_input(study["exports"][w.name]["adapter"]),
        snapshot=lambda w: study.snapshot("models", study["exports"][w.name]["model"]),
        files=lambda w: study.local_files("models", study["exports"][w.name]["model"]),
        summary=f"{R}/summary.parquet",
        facts=FACTS,
        results=lambda w: study.export_scores(w.name),
        qc=lambda w: expand(f"{R}/pairs/{{name}}/qc.json", name=study.export_pairs(w.name)),
        corpora=lambda w: study.export_corpora(w.name),
        statistics=lambda w: study.export_statistics(w.name),
    output:
        directory(f"{R}/models/{{name}}"),
    log:
        f"{R}/logs/export_model/{{name}}.log",
    conda:
        "../../envs/main.yaml"
    params:
        **study.export_chunks(),
        spec=lambda w: study.export_spec(w.name) | study.export_params(w.name),
        model=lambda w: study.model(study["exports"][w.name]["model"]),
        adapter=lambda w: study.adapter_path(study["exports"][w.name]["adapter"]),
        template=lambda w: study.template_of(study["exports"][w.name]["prompt"]),
        pairs=lambda w: study.export_pairs(w.name),
        recipe=lambda w: study.export_recipe(w.name),
        code=code_digest("export_model"),
    script:
        "../scripts/export_model.py"


rule check_parity:
    """Fails unless the exported model gives the pipeline's vectors, in float32."""
    input:
        exported=f"{R}/models/{{name}}",
        texts=study.parity_texts(),
        adapter=lambda w: study.adapter_input(study["exports"][w.name]["adapter"]),
        snapshot=lambda w: study.snapshot("models", study["exports"][w.name]["model"]),
        files=lambda w: study.local_files("models", study["exports"][w.name]["model"]),
        statistics=lambda w: study.export_statistics(w.name),
    output:
        f"{R}/parity/{{name}}.json",
    log:
        f"{R}/logs/check_parity/{{name}}.log",
    conda:
        "../../envs/main.yaml"
    resources:
        gpu=1,
    params:
        spec=lambda w: study.export_spec(w.name) | study.export_params(w.name),
        model=lambda w: study.model(study["exports"][w.name]["model"]),
        adapter=lambda w: study.adapter_path(study["exports"][w.name]["adapter"]),
        template=lambda w: study.template_of(study["exports"][w.name]["prompt"]),
        execution=lambda w, output: study.execution(),
        code=code_digest("check_parity"),
    script:
        "../scripts/check_parity.py"


rule check_serving:
    """What the servers of an export's `serve` give, compared with sentence-transformers."""
    input:
        exported=f"{R}/models/{{name}}",
        parity=f"{R}/parity/{{name}}.json",
    output:
        f"{R}/serving/{{name}}.json",
        f"{R}/serving/{{name}}.md",
    log:
        f"{R}/logs/check_serving/{{name}}.log",
    conda:
        "../../envs/main.yaml"
    threads: CORES if LOCAL else min(CORES, 4)
    resources:
        gpu=1,
    params:
        serve=lambda w: sorted(study["exports"][w.name]["serve"]),
        code=code_digest("check_serving"),
    script:
        "../scripts/check_serving.py"
