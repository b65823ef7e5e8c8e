localrules:
    plan,


rule plan:
    """The costs in advance: jobs, tokens, GPU-hours and disk for each stage, and what is missing here."""
    log:
        f"{R}/logs/plan.log",
    conda:
        "../../envs/main.yaml"
    script:
        "../scripts/plan.py"
