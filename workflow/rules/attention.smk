# In the order of the config, which the joined table keeps.
ATTENTION = [f"{R}/attention/{model}/{adapter}.parquet" for model, adapter in study.attention_states()]
ATTENTION_TABLES = [f"{R}/attention.parquet", f"{R}/attention_summary.parquet"] if ATTENTION else []
OMITTING = study.attention_states() if study.omitted_texts() else []
OMISSIONS = [f"{R}/omissions/{model}/{adapter}.parquet" for model, adapter in OMITTING]
OMISSION_TABLES = [f"{R}/omissions.parquet", f"{R}/omission_summary.parquet"] if OMISSIONS else []

WEIGHING = study.attention_states() if study.weighs_values() else []
VALUE_NORMS = [f"{R}/value_norms/{model}/{adapter}.parquet" for model, adapter in WEIGHING]
VALUE_NORM_TABLES = [f"{R}/value_norms.parquet", f"{R}/value_norm_summary.parquet"] if VALUE_NORMS else []


rule attention:
    """The last token's attention, for base and each checkpoint, and how tuning changed it."""
    input:
        ATTENTION_TABLES + OMISSION_TABLES + VALUE_NORM_TABLES,


rule measure_attention:
    """Where one checkpoint's last token looks, under each prompt."""
    input:
        texts=f"{R}/tasks/{study['attention']['task']}/texts.parquet" if ATTENTION else [],
        adapter=lambda w: study.adapter_input(w.adapter),
        snapshot=lambda w: study.snapshot("models", w.model),
        files=lambda w: study.local_files("models", w.model),
    output:
        f"{R}/attention/{{model}}/{{adapter}}.parquet",
    log:
        f"{R}/logs/measure_attention/{{model}}/{{adapter}}.log",
    conda:
        "../../envs/main.yaml"
    resources:
        gpu=1,
    params:
        spec=study.attention_spec(),
        prompts=study.attention_prompts(),
        words=study.attention_words(),
        model=lambda w: study.model(w.model),
        adapter=lambda w: study.adapter_path(w.adapter),
        dtype=study["dtype"],
        execution=lambda w, output: study.execution(),
        code=code_digest("measure_attention"),
    script:
        "../scripts/measure_attention.py"


rule summarise_attention:
    """All checkpoints' attention as one table, and the shares and differences with their intervals."""
    input:
        ATTENTION,
    output:
        table=f"{R}/attention.parquet",
        summary=f"{R}/attention_summary.parquet",
    log:
        f"{R}/logs/summarise_attention.log",
    conda:
        "../../envs/main.yaml"
    params:
        code=code_digest("summarise_attention"),
    script:
        "../scripts/summarise_attention.py"


rule omit_words:
    """How far one checkpoint's embedding moves without each word of a text, under each prompt."""
    input:
        texts=f"{R}/tasks/{study['attention']['task']}/texts.parquet" if ATTENTION else [],
        adapter=lambda w: study.adapter_input(w.adapter),
        snapshot=lambda w: study.snapshot("models", w.model),
        files=lambda w: study.local_files("models", w.model),
    output:
        f"{R}/omissions/{{model}}/{{adapter}}.parquet",
    log:
        f"{R}/logs/omit_words/{{model}}/{{adapter}}.log",
    conda:
        "../../envs/main.yaml"
    resources:
        gpu=1,
    params:
        spec=study.attention_spec(),
        texts=study.omitted_texts(),
        prompts=study.attention_prompts(),
        words=study.attention_words(),
        model=lambda w: study.model(w.model),
        adapter=lambda w: study.adapter_path(w.adapter),
        dtype=study["dtype"],
        execution=lambda w, output: study.execution(),
        code=code_digest("omit_words"),
    script:
        "../scripts/omit_words.py"


rule summarise_omissions:
    """All checkpoints' left-out words as one table, and what they do with its intervals."""
    input:
        OMISSIONS,
    output:
        table=f"{R}/omissions.parquet",
        summary=f"{R}/omission_summary.parquet",
    log:
        f"{R}/logs/summarise_omissions.log",
    conda:
        "../../envs/main.yaml"
    params:
        code=code_digest("summarise_omissions"),
    script:
        "../scripts/summarise_omissions.py"


rule measure_value_norms:
    """What one checkpoint's last token takes from where it looks, under each prompt."""
    input:
        texts=f"{R}/tasks/{study['attention']['task']}/texts.parquet" if ATTENTION else [],
        adapter=lambda w: study.adapter_input(w.adapter),
        snapshot=lambda w: study.snapshot("models", w.model),
        files=lambda w: study.local_files("models", w.model),
    output:
        f"{R}/value_norms/{{model}}/{{adapter}}.parquet",
    log:
        f"{R}/logs/measure_value_norms/{{model}}/{{adapter}}.log",
    conda:
        "../../envs/main.yaml"
    resources:
        gpu=1,
    params:
        spec=study.attention_spec(),
        prompts=study.attention_prompts(),
        words=study.attention_words(),
        model=lambda w: study.model(w.model),
        adapter=lambda w: study.adapter_path(w.adapter),
        dtype=study["dtype"],
        execution=lambda w, output: study.execution(),
        code=code_digest("measure_value_norms"),
    script:
        "../scripts/measure_value_norms.py"


rule summarise_value_norms:
    """All checkpoints' value norms as one table, and their shares and differences beside those of attention."""
    input:
        parts=VALUE_NORMS,
        attention=f"{R}/attention_summary.parquet",
    output:
        table=f"{R}/value_norms.parquet",
        summary=f"{R}/value_norm_summary.parquet",
    log:
        f"{R}/logs/summarise_value_norms.log",
    conda:
        "../../envs/main.yaml"
    params:
        code=code_digest("summarise_value_norms"),
    script:
        "../scripts/summarise_value_norms.py"
