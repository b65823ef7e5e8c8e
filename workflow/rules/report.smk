import os
from importlib.resources import files

from promptpool.tasks.published import published_scores

# Its path as in the report's commands, relative to the directory where the workflow is started.
CONFIGFILE = next((os.path.relpath(path) for path in workflow.config_settings.configfiles), None)


rule report:
    """One HTML file that shows everything."""
    input:
        f"{R}/report.html",


rule build_report:
    """The report, from every table and figure."""
    input:
        scores=f"{R}/scores.parquet",
        summary=f"{R}/summary.parquet",
        ablations=expand(f"{R}/ablations/{{name}}.parquet", name=sorted(study["ablations"])),
        attention=ATTENTION_TABLES,
        pairs=expand(f"{R}/pairs/{{name}}/pairs.parquet", name=sorted(study["pairs"])),
        qc=expand(f"{R}/pairs/{{name}}/qc.json", name=sorted(study["pairs"])),
        negatives=expand(f"{R}/negatives/{{name}}/qc.json", name=study.with_negatives()),
        training=expand(f"{R}/adapters/{{name}}", name=TRAINED),
        figures=rules.figures.input,
        facts=FACTS,
        benchmarks=[f"{R}/benchmarks.parquet"] if study["benchmarks"] else [],
        text_map=[f"{R}/map.parquet"] if MAP else [],
        verdict=study.verdict()[:1],
        choice=study.choice_tables(),
        serving=expand(f"{R}/serving/{{name}}.json", name=study.served_exports()),
    output:
        report(
            f"{R}/report.html",
            caption="../report/page.rst",
            category="Report",
            labels={"figure": "the whole report"},
        ),
    log:
        f"{R}/logs/build_report.log",
    conda:
        "../../envs/main.yaml"
    params:
        **({"negatives": study.with_negatives()} if study.with_negatives() else {}),
        study=study.shown(),
        ablations=sorted(study["ablations"]),
        pairs=sorted(study["pairs"]),
        trained=TRAINED,
        published={name: published_scores(study.config, tasks) for name, tasks in study.benchmarks().items()},
        configfile=CONFIGFILE,
        page=file_digest(files("promptpool.report") / "templates"),
        code=code_digest("build_report"),
    script:
        "../scripts/build_report.py"
