rule tasks:
    """Every task's texts."""
    input:
        expand(f"{R}/tasks/{{task}}/texts.parquet", task=study["tasks"]),


rule write_search:
    """A retrieval task's files, from queries that a language model wrote for held-out texts. Only if the study asks."""
    input:
        pairs=lambda w: study.search_inputs(w.task)["pairs"],
        corpus=lambda w: study.search_inputs(w.task)["corpus"],
    output:
        queries=f"{R}/searches/{{task}}/queries.jsonl",
        documents=f"{R}/searches/{{task}}/documents.jsonl",
        qrels=f"{R}/searches/{{task}}/qrels.tsv",
    log:
        f"{R}/logs/write_search/{{task}}.log",
    priority: 10
    conda:
        "../../envs/main.yaml"
    params:
        spec=lambda w: study.search_spec(w.task),
        code=code_digest("write_search"),
    script:
        "../scripts/write_search.py"


rule build_task:
    """A task's labelled texts, the unique texts that MTEB actually asks for, and the task's facts."""
    input:
        corpus=lambda w: study.corpus_of("tasks", w.task),
        snapshot=lambda w: study.snapshot("tasks", w.task),
        files=lambda w: study.local_files("tasks", w.task) + list(study.search_files(w.task).values()),
    output:
        labelled=f"{R}/tasks/{{task}}/labelled.parquet",
        texts=f"{R}/tasks/{{task}}/texts.parquet",
        facts=f"{R}/tasks/{{task}}/facts.json",
    log:
        f"{R}/logs/build_task/{{task}}.log",
    priority: 10
    conda:
        "../../envs/main.yaml"
    params:
        spec=lambda w: study.hub_spec("tasks", w.task),
        code=code_digest("build_task"),
    script:
        "../scripts/build_task.py"


rule tasks_ready:
    """Marks that the texts of every task exist, for rules that must wait for them but not rerun for a new task."""
    input:
        rules.tasks.input,
    output:
        touch(f"{R}/checks/tasks_ready"),
