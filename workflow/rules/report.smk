STEPS = [name for name, spec in sorted(study["ablations"].items()) if spec["vary"] == "adapter"]
FIGURES = [
    "heat_map",
    *(f"ablation_{name}" for name in sorted(study["ablations"])),
    *(f"score_by_step_{name}" for name in STEPS),
    *(["training_curves"] if study["adapters"] else []),
    *(["pairs_qc"] if study["pairs"] else []),
    *(["attention_bars", "attention_spans", "attention_layers"] if ATTENTION else []),
]
TRAINED = sorted(study["adapters"])


rule figures:
    """Every figure, as SVG and PNG."""
    input:
        expand(f"{R}/figures/{{figure}}.svg", figure=FIGURES),


rule draw_heat_map:
    """Prompt x pooling, a panel a checkpoint."""
    input:
        f"{R}/scores.parquet",
    output:
        svg=report(f"{R}/figures/heat_map.svg", caption="../report/heat_map.rst", category="Scores"),
        png=f"{R}/figures/heat_map.png",
    log:
        f"{R}/logs/draw/heat_map.log",
    conda:
        "../../envs/main.yaml"
    params:
        kind="heat_map",
        code=code_digest("drawing"),
    script:
        "../scripts/draw.py"


rule draw_ablation:
    """What one varied thing does, with intervals."""
    input:
        f"{R}/ablations/{{name}}.parquet",
    output:
        svg=report(
            f"{R}/figures/ablation_{{name}}.svg",
            caption="../report/ablation.rst",
            category="Ablations",
            labels={"ablation": "{name}"},
        ),
        png=f"{R}/figures/ablation_{{name}}.png",
    log:
        f"{R}/logs/draw/ablation_{{name}}.log",
    conda:
        "../../envs/main.yaml"
    params:
        kind="ablation",
        code=code_digest("drawing"),
    script:
        "../scripts/draw.py"


rule draw_score_by_step:
    """Score against training step, with the floors."""
    input:
        scores=f"{R}/scores.parquet",
        steps=f"{R}/ablations/{{name}}.parquet",
    output:
        svg=report(
            f"{R}/figures/score_by_step_{{name}}.svg",
            caption="../report/score_by_step.rst",
            category="Training",
            labels={"ablation": "{name}"},
        ),
        png=f"{R}/figures/score_by_step_{{name}}.png",
    log:
        f"{R}/logs/draw/score_by_step_{{name}}.log",
    conda:
        "../../envs/main.yaml"
    params:
        kind="score_by_step",
        code=code_digest("drawing"),
    script:
        "../scripts/draw.py"


rule draw_training_curves:
    """Training loss against step."""
    input:
        expand(f"{R}/adapters/{{name}}", name=TRAINED),
    output:
        svg=report(f"{R}/figures/training_curves.svg", caption="../report/training_curves.rst", category="Training"),
        png=f"{R}/figures/training_curves.png",
    log:
        f"{R}/logs/draw/training_curves.log",
    conda:
        "../../envs/main.yaml"
    params:
        kind="training_curves",
        code=code_digest("drawing"),
    script:
        "../scripts/draw.py"


rule draw_pairs_qc:
    """Pairs accepted and rejected, and their lengths."""
    input:
        expand(f"{R}/pairs/{{name}}/qc.json", name=sorted(study["pairs"])),
    output:
        svg=report(f"{R}/figures/pairs_qc.svg", caption="../report/pairs_qc.rst", category="Pairs"),
        png=f"{R}/figures/pairs_qc.png",
    log:
        f"{R}/logs/draw/pairs_qc.log",
    conda:
        "../../envs/main.yaml"
    params:
        kind="pairs_qc",
        code=code_digest("drawing"),
    script:
        "../scripts/draw.py"


rule draw_attention:
    """The paper's attention figure, the share of each span, and content words layer by layer."""
    input:
        ATTENTION_TABLES,
    output:
        svg=report(
            f"{R}/figures/attention_{{name}}.svg",
            caption="../report/attention_{name}.rst",
            category="Attention",
        ),
        png=f"{R}/figures/attention_{{name}}.png",
    log:
        f"{R}/logs/draw/attention_{{name}}.log",
    conda:
        "../../envs/main.yaml"
    params:
        kind=lambda w: f"attention_{w.name}",
        code=code_digest("drawing"),
    script:
        "../scripts/draw.py"


rule report:
    """One HTML file that shows it all."""
    input:
        scores=f"{R}/scores.parquet",
        summary=f"{R}/summary.parquet",
        ablations=expand(f"{R}/ablations/{{name}}.parquet", name=sorted(study["ablations"])),
        attention=ATTENTION_TABLES,
        pairs=expand(f"{R}/pairs/{{name}}/pairs.parquet", name=sorted(study["pairs"])),
        qc=expand(f"{R}/pairs/{{name}}/qc.json", name=sorted(study["pairs"])),
        training=expand(f"{R}/adapters/{{name}}", name=TRAINED),
        figures=rules.figures.input,
    output:
        f"{R}/report.html",
    log:
        f"{R}/logs/report.log",
    conda:
        "../../envs/main.yaml"
    params:
        study=study.shown(),
        ablations=sorted(study["ablations"]),
        pairs=sorted(study["pairs"]),
        trained=TRAINED,
        page=[
            file_digest(f"{workflow.basedir}/workflow/report/{name}")
            for name in ("report.html.j2", "report.css", "report.js", "attention.html.j2", "attention.js")
        ],
        code=code_digest("report"),
    script:
        "../scripts/report.py"
