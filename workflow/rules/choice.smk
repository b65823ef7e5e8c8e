# A readout and a checkpoint that held-out pairs propose, and what that choice scores. Only if a study asks.
CHOICE_FILES = study.choice_files()


rule choice:
    """The proposal from held-out pairs alone, with every candidate's criteria."""
    input:
        [f"{R}/choice/candidates.parquet"] if study["choice"] is not None else [],


rule hold_out_pairs:
    """Pairs that no candidate was trained on, and their texts."""
    input:
        expand(f"{R}/pairs/{{name}}/pairs.parquet", name=study.choice_sets() if study["choice"] is not None else []),
    output:
        pairs=CHOICE_FILES[0],
        texts=CHOICE_FILES[1],
    log:
        f"{R}/logs/hold_out_pairs.log",
    conda:
        "../../envs/main.yaml"
    params:
        sets=study.choice_sets() if study["choice"] is not None else [],
        trainings=study.choice_trainings() if study["choice"] is not None else {},
        code=code_digest("hold_out_pairs"),
    script:
        "../scripts/hold_out_pairs.py"


rule propose_readout:
    """Label-free criteria of every candidate readout and checkpoint, and the one that they propose. Reads no task."""
    input:
        **study.choice_inputs(),
        lexical=list(LEXICAL.values()),
        pairs=CHOICE_FILES[0],
        texts=CHOICE_FILES[1],
    output:
        f"{R}/choice/candidates.parquet",
    log:
        f"{R}/logs/propose_readout.log",
    conda:
        "../../envs/main.yaml"
    params:
        states=study.choice_states(),
        readouts=study.choice_readouts(),
        criterion=study.choice_criterion(),
        lexical=list(LEXICAL),
        code=code_digest("propose_readout"),
    script:
        "../scripts/propose_readout.py"


rule judge_choice:
    """What the choice scores on the tasks, and how well each criterion ranks variants as the tasks do."""
    input:
        candidates=f"{R}/choice/candidates.parquet",
        pairs=CHOICE_FILES[0],
        scores=f"{R}/scores.parquet",
        facts=FACTS,
        texts=expand(f"{R}/tasks/{{task}}/texts.parquet", task=study["tasks"]),
    output:
        outcome=f"{R}/choice/outcome.parquet",
        agreement=f"{R}/choice/agreement.parquet",
    log:
        f"{R}/logs/judge_choice.log",
    conda:
        "../../envs/main.yaml"
    params:
        tasks=list(study["tasks"]),
        paper=study.paper_variant(),
        seeds=study.first_seeds(),
        code=code_digest("judge_choice"),
    script:
        "../scripts/judge_choice.py"
