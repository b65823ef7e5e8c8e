# Post-processings and aggregations: fitted on unlabelled texts, scored from stored vectors. Only if a study asks.
from promptpool.variants import FITTING

READOUTS = study.readouts()
LEXICAL = study.lexical_parts()


rule choose_fitting_texts:
    """Unlabelled texts that statistics are fitted on, none of them a task's."""
    input:
        sources=list(study.fitting_sources().values()),
        texts=expand(f"{R}/tasks/{{task}}/texts.parquet", task=study["tasks"]),
    output:
        study.fitting_texts(),
    log:
        f"{R}/logs/choose_fitting_texts.log",
    conda:
        "../../envs/main.yaml"
    params:
        sources=list(study.fitting_sources()),
        tasks=list(study["tasks"]),
        most=study["fitting"]["texts"],
        seed=study["seed"],
        code=code_digest("choose_fitting_texts"),
    script:
        "../scripts/choose_fitting_texts.py"


rule fit_lexical:
    """TF-IDF and SVD of the fitting texts, for aggregations with a lexical part."""
    input:
        texts=study.fitting_texts(),
    output:
        f"{R}/lexical/tfidf-svd-{{dim}}.safetensors",
    log:
        f"{R}/logs/fit_lexical/{{dim}}.log",
    wildcard_constraints:
        dim=r"\d+",
    conda:
        "../../envs/main.yaml"
    params:
        dim=lambda w: int(w.dim),
        code=code_digest("fit_lexical"),
    script:
        "../scripts/fit_lexical.py"


rule fit_statistics:
    """Mean, spread and principal axes of one checkpoint's vectors, for each prompt and readout."""
    input:
        vectors=lambda w: study.vectors_of_texts(FITTING, w.model, w.adapter),
    output:
        f"{R}/statistics/{{model}}/{{adapter}}/fitted.json",
    log:
        f"{R}/logs/fit_statistics/{{model}}/{{adapter}}.log",
    conda:
        "../../envs/main.yaml"
    params:
        readouts=study.fitted_readouts(),
        code=code_digest("fit_statistics"),
    script:
        "../scripts/fit_statistics.py"


rule score_readouts:
    """MTEB's scores of one checkpoint's post-processed poolings and aggregations. No forward pass."""
    input:
        labelled=lambda w: study.task_files(w.share, "labelled.parquet"),
        texts=lambda w: study.task_files(w.share, "texts.parquet"),
        snapshot=lambda w: study.task_snapshots(w.share),
        vectors=f"{R}/embeddings/{{model}}/{{adapter}}/{{share}}.json",
        statistics=f"{R}/statistics/{{model}}/{{adapter}}/fitted.json",
        fitted_on=study.fitting_texts(),
        lexical=list(LEXICAL.values()),
    output:
        f"{R}/readout_scores/{{model}}/{{adapter}}/{{share}}.json",
    log:
        f"{R}/logs/score_readouts/{{model}}/{{adapter}}/{{share}}.log",
    conda:
        "../../envs/main.yaml"
    threads: study.scoring_threads(CORES, LOCAL)
    params:
        **({"lexical": list(LEXICAL)} if LEXICAL else {}),
        **study.max_sim_params(),
        tasks=lambda w: study.task_specs(w.share),
        readouts=READOUTS,
        code=code_digest("score_readouts"),
    script:
        "../scripts/score_readouts.py"
