localrules:
    plan,


rule plan:
    """Before anything is spent: a table of jobs, tokens, GPU-hours and disk a stage, and what is missing here."""
    log:
        f"{R}/logs/plan.log",
    conda:
        "../../envs/main.yaml"
    script:
        "../scripts/plan.py"
