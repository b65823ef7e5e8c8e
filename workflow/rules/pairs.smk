rule pairs:
    """Every set of positive pairs, without the tasks' texts."""
    input:
        expand(f"{R}/pairs/{{name}}/pairs.parquet", name=study["pairs"]),


rule make_pairs:
    """A positive for every anchor, fit or not, in shards that survive a killed job."""
    input:
        corpus=lambda w: study.corpus_of("pairs", w.name),
        snapshot=lambda w: study.snapshot("models", study["pairs"][w.name]["model"]),
        judge=lambda w: study.judge_snapshot(w.name),
        files=lambda w: study.local_files("models", study["pairs"][w.name]["model"])
        + study.local_files("pairs", w.name),
    output:
        written=f"{R}/pairs/{{name}}/written.parquet",
        told=f"{R}/pairs/{{name}}/written.parquet.meta.json",
    log:
        f"{R}/logs/make_pairs/{{name}}.log",
    cache: CACHE
    priority: 10
    conda:
        # vLLM pins its own torch, so it has its own environment.
        lambda w: f"../../envs/{'vllm' if study['pairs'][w.name]['backend'] == 'vllm' else 'main'}.yaml"
    resources:
        gpu=lambda w: study.pairs_gpus(w.name),
    params:
        spec=lambda w: study.pairs_spec(w.name),
        model=lambda w: study.pairs_model(w.name),
        execution=lambda w, output: study.execution("pairs", w.name),
        code=lambda w: code_digest("make_pairs", *study.pairs_code(w.name)),
    script:
        "../scripts/make_pairs.py"


rule select_pairs:
    """The pairs to train on, without duplicates and without the tasks' texts."""
    input:
        written=f"{R}/pairs/{{name}}/written.parquet",
        # A new task does not select pairs again, as that would retrain every adapter. check_training_data checks it.
        # A set that is held out for a task waits for none, as that task waits for it.
        ready=ancient(lambda w: study.selection_waits(w.name)),
        corpus=lambda w: study.round_trip_files(w.name)["corpus"],
        snapshot=lambda w: study.round_trip_files(w.name)["snapshot"],
        files=lambda w: study.round_trip_files(w.name)["files"],
    output:
        pairs=f"{R}/pairs/{{name}}/pairs.parquet",
        rejected=f"{R}/pairs/{{name}}/rejected.parquet",
        qc=f"{R}/pairs/{{name}}/qc.json",
        told=f"{R}/pairs/{{name}}/pairs.parquet.meta.json",
    log:
        f"{R}/logs/select_pairs/{{name}}.log",
    cache: CACHE
    priority: 10
    conda:
        "../../envs/main.yaml"
    resources:
        gpu=lambda w: 1 if study.finder(w.name) else 0,
    params:
        spec=lambda w: study.selection_spec(w.name),
        tasks=lambda w, output: study.selection_tasks(w.name),
        execution=lambda w, output: study.execution(),
        code=lambda w: code_digest("select_pairs", *study.selection_code(w.name)),
    script:
        "../scripts/select_pairs.py"
