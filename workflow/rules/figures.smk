from promptpool.study.published import reference_lines

STEPS = [name for name, spec in sorted(study["ablations"].items()) if spec["vary"] == "adapter"]
FROM_BASE = [name for name in STEPS if study["ablations"][name]["baseline"] == "base"]
COSTS = expand(f"{R}/costs/{{model}}.parquet", model=study["grid"]["models"])
FIGURES = [
    "heat_map",
    "cost_scores",
    *(["layer_curves"] if len(study["grid"]["layers"]) > 1 else []),
    *(["text_map"] if MAP else []),
    *(f"benchmark_{name}" for name in sorted(study["benchmarks"])),
    *(f"ablation_{name}" for name in sorted(study["ablations"])),
    *(f"score_by_step_{name}" for name in STEPS),
    *(f"tuned_{name}" for name in FROM_BASE),
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
        FACTS,
    output:
        svg=report(
            f"{R}/figures/heat_map.svg",
            caption="../report/heat_map.rst",
            category="Scores",
            labels={"figure": "heat map"},
        ),
        png=f"{R}/figures/heat_map.png",
    log:
        f"{R}/logs/draw/heat_map.log",
    conda:
        "../../envs/main.yaml"
    params:
        kind="heat_map",
        code=code_digest("draw", "figures.draw.draw_heat_map"),
    script:
        "../scripts/draw.py"


rule draw_ablation:
    """What one varied thing does, with intervals."""
    input:
        f"{R}/ablations/{{name}}.parquet",
        lambda w: expand(f"{R}/tasks/{{task}}/facts.json", task=study.ablation_tasks(w.name)),
    output:
        svg=report(
            f"{R}/figures/ablation_{{name}}.svg",
            caption="../report/ablation.rst",
            category="Ablations",
            labels={"figure": "ablation {name}"},
        ),
        png=f"{R}/figures/ablation_{{name}}.png",
    log:
        f"{R}/logs/draw/ablation_{{name}}.log",
    conda:
        "../../envs/main.yaml"
    params:
        kind="ablation",
        code=code_digest("draw", "figures.draw.draw_ablation"),
    script:
        "../scripts/draw.py"


rule draw_score_by_step:
    """Score against training step, with the floors."""
    input:
        scores=f"{R}/scores.parquet",
        steps=f"{R}/ablations/{{name}}.parquet",
        facts=lambda w: expand(f"{R}/tasks/{{task}}/facts.json", task=study.ablation_tasks(w.name)),
    output:
        svg=report(
            f"{R}/figures/score_by_step_{{name}}.svg",
            caption="../report/score_by_step.rst",
            category="Training",
            labels={"figure": "score by step", "ablation": "{name}"},
        ),
        png=f"{R}/figures/score_by_step_{{name}}.png",
    log:
        f"{R}/logs/draw/score_by_step_{{name}}.log",
    conda:
        "../../envs/main.yaml"
    params:
        kind="score_by_step",
        options=lambda w: {"lines": reference_lines(study.config, study.ablation_tasks(w.name))},
        code=code_digest("draw", "figures.draw.draw_score_by_step"),
    script:
        "../scripts/draw.py"


rule draw_tuned:
    """Tuned against untuned, task by task."""
    input:
        f"{R}/ablations/{{name}}.parquet",
        lambda w: expand(f"{R}/tasks/{{task}}/facts.json", task=study.ablation_tasks(w.name)),
    output:
        svg=report(
            f"{R}/figures/tuned_{{name}}.svg",
            caption="../report/tuned.rst",
            category="Training",
            labels={"figure": "tuned against untuned", "ablation": "{name}"},
        ),
        png=f"{R}/figures/tuned_{{name}}.png",
    log:
        f"{R}/logs/draw/tuned_{{name}}.log",
    conda:
        "../../envs/main.yaml"
    params:
        kind="tuned",
        code=code_digest("draw", "figures.draw.draw_tuned"),
    script:
        "../scripts/draw.py"


rule draw_layer_curves:
    """Score by the layer that is pooled."""
    input:
        f"{R}/scores.parquet",
        COSTS,
        FACTS,
    output:
        svg=report(
            f"{R}/figures/layer_curves.svg",
            caption="../report/layer_curves.rst",
            category="Scores",
            labels={"figure": "score by layer"},
        ),
        png=f"{R}/figures/layer_curves.png",
    log:
        f"{R}/logs/draw/layer_curves.log",
    conda:
        "../../envs/main.yaml"
    params:
        kind="layer_curves",
        code=code_digest("draw", "figures.draw.draw_layer_curves"),
    script:
        "../scripts/draw.py"


rule draw_cost_scores:
    """Score by what a variant costs."""
    input:
        f"{R}/scores.parquet",
        COSTS,
        FACTS,
    output:
        svg=report(
            f"{R}/figures/cost_scores.svg",
            caption="../report/cost_scores.rst",
            category="Scores",
            labels={"figure": "score by cost"},
        ),
        png=f"{R}/figures/cost_scores.png",
    log:
        f"{R}/logs/draw/cost_scores.log",
    conda:
        "../../envs/main.yaml"
    params:
        kind="cost_scores",
        code=code_digest("draw", "figures.draw.draw_cost_scores"),
    script:
        "../scripts/draw.py"


rule draw_benchmark:
    """Averages over a whole benchmark, beside what others have published on the same tasks."""
    input:
        f"{R}/scores.parquet",
        FACTS,
    output:
        svg=report(
            f"{R}/figures/benchmark_{{name}}.svg",
            caption="../report/benchmark.rst",
            category="Scores",
            labels={"figure": "benchmark {name}"},
        ),
        png=f"{R}/figures/benchmark_{{name}}.png",
    log:
        f"{R}/logs/draw/benchmark_{{name}}.log",
    conda:
        "../../envs/main.yaml"
    params:
        kind="benchmark",
        options=lambda w: {
            "title": study["benchmarks"][w.name]["name"],
            "tasks": list(study.benchmarks()[w.name]),
            "lines": reference_lines(study.config, study.benchmarks()[w.name]),
        },
        code=code_digest("draw", "figures.draw.draw_benchmark"),
    script:
        "../scripts/draw.py"


rule draw_text_map:
    """The map of texts, coloured by label."""
    input:
        f"{R}/map.parquet",
    output:
        svg=report(
            f"{R}/figures/text_map.svg",
            caption="../report/text_map.rst",
            category="Scores",
            labels={"figure": "map of texts"},
        ),
        png=f"{R}/figures/text_map.png",
    log:
        f"{R}/logs/draw/text_map.log",
    conda:
        "../../envs/main.yaml"
    params:
        kind="text_map",
        options={"title": f"{MAP['task']}, prompt {MAP['prompt']}, {MAP['pooling']}"} if MAP else {},
        code=code_digest("draw", "figures.draw.draw_text_map"),
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
        code=code_digest("draw", "figures.draw.draw_training_curves"),
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
        code=code_digest("draw", "figures.draw.draw_pairs_qc"),
    script:
        "../scripts/draw.py"


rule draw_attention:
    """The paper's attention figure, the share of each span, and content words layer by layer."""
    input:
        ATTENTION_TABLES,
    output:
        svg=report(
            f"{R}/figures/attention_{{name}}.svg",
            caption="../report/attention.rst",
            category="Attention",
        ),
        png=f"{R}/figures/attention_{{name}}.png",
    log:
        f"{R}/logs/draw/attention_{{name}}.log",
    conda:
        "../../envs/main.yaml"
    params:
        kind=lambda w: f"attention_{w.name}",
        code=lambda w: code_digest("draw", f"figures.draw.draw_attention_{w.name}"),
    script:
        "../scripts/draw.py"
