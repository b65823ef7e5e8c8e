from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.artifacts.files import git_commit, package_versions
    from promptpool.report.build_report import Artifacts, build_report

    given, params = snakemake.input, snakemake.params
    build_report(
        snakemake.output[0],
        Artifacts(
            summary=given.summary,
            scores=given.scores,
            ablations=dict(zip(params.ablations, given.get("ablations", []), strict=True)),
            attention=list(given.attention),
            pairs=dict(zip(params.pairs, zip(given.pairs, given.qc, strict=True), strict=True)),
            negatives=dict(zip(params.get("negatives", []), given.get("negatives", []), strict=True)),
            training={
                name: f"{path}/training.parquet" for name, path in zip(params.trained, given.training, strict=True)
            },
            figures={path.rpartition("/")[2].removesuffix(".svg"): path for path in given.figures},
            facts=list(given.facts),
            benchmarks=given.benchmarks[0] if given.benchmarks else None,
            text_map=given.text_map[0] if given.text_map else None,
            verdict=given.verdict[0] if given.verdict else None,
            choice=list(given.choice),
            serving={path.rpartition("/")[2].removesuffix(".json"): path for path in given.get("serving", [])},
        ),
        config=params.study,
        provenance={"commit": git_commit(), **package_versions()},
        published=params.published,
        configfile=params.configfile,
    )
