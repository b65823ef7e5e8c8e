EMBEDDED = [name for name, spec in study["baselines"].items() if spec["kind"] in ("sentence-transformers", "openai")]
SCORED = [
    f"{R}/scores/{job}.json"
    for job in [*study.grid_jobs(), *(f"baselines/{baseline}" for baseline in study["baselines"] if study["tasks"])]
] + study.readout_scores(study.grid_jobs())
FACTS = expand(f"{R}/tasks/{{task}}/facts.json", task=study["tasks"])


rule scores:
    """scores.parquet: every measurement, one row each; and MTEB's own result files."""
    input:
        f"{R}/scores.parquet",
        f"{R}/mteb",
        [f"{R}/benchmarks.parquet"] if study["benchmarks"] else [],


rule score_checkpoint:
    """MTEB's scores of one checkpoint's embeddings, with every bootstrap replicate."""
    input:
        labelled=lambda w: study.task_files(w.share, "labelled.parquet"),
        texts=lambda w: study.task_files(w.share, "texts.parquet"),
        snapshot=lambda w: study.task_snapshots(w.share),
        vectors=f"{R}/embeddings/{{model}}/{{adapter}}/{{share}}.json",
    output:
        f"{R}/scores/{{model}}/{{adapter}}/{{share}}.json",
    log:
        f"{R}/logs/score_checkpoint/{{model}}/{{adapter}}/{{share}}.log",
    conda:
        "../../envs/main.yaml"
    threads: study.scoring_threads(CORES, LOCAL)
    params:
        **study.roles_params(),
        **study.max_sim_params(),
        tasks=lambda w: study.task_specs(w.share),
        code=code_digest("score_checkpoint"),
    script:
        "../scripts/score_checkpoint.py"


rule embed_baseline:
    """The vectors of a model trained by others, of every task's texts."""
    input:
        texts=expand(f"{R}/tasks/{{task}}/texts.parquet", task=study["tasks"]),
        snapshot=lambda w: study.snapshot("baselines", w.baseline),
        files=lambda w: study.local_files("baselines", w.baseline),
    output:
        f"{R}/embeddings/baselines/{{baseline}}.json",
    log:
        f"{R}/logs/embed_baseline/{{baseline}}.log",
    conda:
        "../../envs/main.yaml"
    resources:
        gpu=lambda w: int(study["baselines"][w.baseline]["kind"] == "sentence-transformers"),
    params:
        tasks=list(study["tasks"]),
        spec=lambda w: study.baseline_spec(w.baseline),
        execution=lambda w, output: study.execution() | {"server": study.baseline_server(w.baseline)},
        code=code_digest("embed_baseline"),
    script:
        "../scripts/embed_baseline.py"


rule score_baseline:
    """One baseline's scores on every task."""
    input:
        labelled=lambda w: expand(f"{R}/tasks/{{task}}/labelled.parquet", task=study.baseline_tasks(w.baseline)),
        texts=lambda w: expand(f"{R}/tasks/{{task}}/texts.parquet", task=study.baseline_tasks(w.baseline)),
        snapshot=lambda w: sorted(
            {marker for task in study.baseline_tasks(w.baseline) for marker in study.snapshot("tasks", task)}
        ),
        vectors=lambda w: [f"{R}/embeddings/baselines/{w.baseline}.json"] if w.baseline in EMBEDDED else [],
    output:
        f"{R}/scores/baselines/{{baseline}}.json",
    log:
        f"{R}/logs/score_baseline/{{baseline}}.log",
    conda:
        "../../envs/main.yaml"
    threads: study.scoring_threads(CORES, LOCAL)
    params:
        tasks=lambda w: {task: study.hub_spec("tasks", task) for task in study.baseline_tasks(w.baseline)},
        baseline=lambda w: study.baseline_spec(w.baseline),
        code=code_digest("score_baseline"),
    script:
        "../scripts/score_baseline.py"


rule gather_scores:
    """All parts as one table."""
    input:
        parts=SCORED,
        checks=study.adapter_checks(),
    output:
        f"{R}/scores.parquet",
    log:
        f"{R}/logs/gather_scores.log",
    conda:
        "../../envs/main.yaml"
    params:
        sort_by=[
            "model",
            "adapter",
            "step",
            "seed",
            "prompt",
            "pooling",
            "layer",
            "task",
            "split",
            "subset",
            "level",
            "metric",
        ],
        seeds=study.first_seeds(),
        code=code_digest("gather_scores"),
    script:
        "../scripts/gather_scores.py"


rule write_mteb_results:
    """MTEB's own result files, as mteb.ResultCache reads them."""
    input:
        SCORED,
    output:
        directory(f"{R}/mteb"),
    log:
        f"{R}/logs/write_mteb_results.log",
    conda:
        "../../envs/main.yaml"
    params:
        code=code_digest("write_mteb_results"),
    script:
        "../scripts/write_mteb_results.py"


rule average_benchmarks:
    """Averages over whole benchmarks; NaN until every task is scored."""
    input:
        f"{R}/scores.parquet",
    output:
        f"{R}/benchmarks.parquet",
    log:
        f"{R}/logs/average_benchmarks.log",
    conda:
        "../../envs/main.yaml"
    params:
        benchmarks=study.benchmarks(),
        code=code_digest("average_benchmarks"),
    script:
        "../scripts/average_benchmarks.py"


rule ablations:
    """Every ablation table."""
    input:
        expand(f"{R}/ablations/{{name}}.parquet", name=study["ablations"]),


for ABLATION in sorted(study["ablations"]):

    rule:
        """One ablation's table and figure, and only their inputs."""
        name:
            f"ablation_{ABLATION}"
        input:
            f"{R}/ablations/{ABLATION}.parquet",
            f"{R}/figures/ablation_{ABLATION}.svg",


rule compare_ablation:
    """The effect of one varied thing: paired differences to its baseline, with intervals, from only what it compares."""
    input:
        parts=lambda w: study.ablation_parts(w.name),
        facts=lambda w: expand(f"{R}/tasks/{{task}}/facts.json", task=study.ablation_tasks(w.name)),
    output:
        f"{R}/ablations/{{name}}.parquet",
    log:
        f"{R}/logs/compare_ablation/{{name}}.log",
    conda:
        "../../envs/main.yaml"
    params:
        spec=lambda w: study.ablation_spec(w.name),
        code=code_digest("compare_ablation"),
    script:
        "../scripts/compare_ablation.py"


rule summary:
    """The headline table, as parquet and as text."""
    input:
        f"{R}/summary.parquet",


rule summarise_scores:
    """The headline table: floors, best untuned, best tuned, the gains."""
    input:
        scores=f"{R}/scores.parquet",
        facts=FACTS,
        tables=expand(f"{R}/ablations/{{name}}.parquet", name=study.two_axes()),
        verdict=study.verdict()[1:],
        trainings=study.judged_inputs()["adapters"],
        choice=study.choice_tables(),
    output:
        table=f"{R}/summary.parquet",
        text=f"{R}/summary.txt",
    log:
        f"{R}/logs/summarise_scores.log",
    conda:
        "../../envs/main.yaml"
    params:
        run=study["run"],
        exports={name: study.export_spec(name) for name in study["exports"]},
        prompts=study.prompts,
        seeds=study.first_seeds(),
        judged=study.judged_spec(),
        code=code_digest("summarise_scores"),
    script:
        "../scripts/summarise_scores.py"
