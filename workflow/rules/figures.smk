import re

from promptpool.config.adapters import untrained
from promptpool.figures.registry import FIGURES

TRAINED = sorted(name for name in study.trainings() if not untrained(study.adapter(name)))


rule figures:
    """Every figure, as SVG and PNG."""
    input:
        [f"{R}/figures/{file}.svg" for figure in FIGURES for file in figure.files(study)],


for FIGURE in FIGURES:

    rule:
        """A figure, as its entry in figures/registry.py defines it."""
        name:
            f"draw_{FIGURE.name}"
        input:
            unpack(lambda w, figure=FIGURE: figure.inputs(study, w.get("name", ""))),
        output:
            svg=report(
                f"{R}/figures/{FIGURE.pattern}.svg",
                caption="../report/figure.rst",
                category=FIGURE.category,
                labels=FIGURE.labels,
            ),
            png=f"{R}/figures/{FIGURE.pattern}.png",
        log:
            f"{R}/logs/draw/{FIGURE.pattern}.log",
        wildcard_constraints:
            name="|".join(map(re.escape, FIGURE.names(study))) or "(?!)",
        conda:
            "../../envs/main.yaml"
        params:
            kind=FIGURE.name,
            options=lambda w, figure=FIGURE: figure.options(study, w.get("name", "")),
            code=lambda w, figure=FIGURE: code_digest("draw", *figure.code(study, w.get("name", ""))),
            # A param that depends on `output` causes no rerun. `code` covers what the function computes.
            drawing=lambda w, output, figure=FIGURE: figure.drawing,
            # For Snakemake's report.
            caption=lambda w, output, figure=FIGURE: figure.caption,
        script:
            "../scripts/draw.py"
