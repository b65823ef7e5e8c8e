from promptpool.job import job

with job(snakemake.log[0], snakemake.threads, reads=snakemake.input, writes=snakemake.output):
    from promptpool.artifacts import git_commit, package_versions
    from promptpool.report import build_report

    given, params = snakemake.input, snakemake.params
    build_report(
        snakemake.output[0],
        run=params.study["run"],
        summary=given.summary,
        scores=given.scores,
        ablations=dict(zip(params.ablations, given.get("ablations", []), strict=True)),
        attention=[given.attention] if given.attention else [],
        pairs={name: (f"{path}", f"{qc}") for name, path, qc in zip(params.pairs, given.pairs, given.qc, strict=True)},
        training={name: f"{path}/training.parquet" for name, path in zip(params.trained, given.training, strict=True)},
        figures={path.rpartition("/")[2].removesuffix(".svg"): path for path in given.figures},
        config=params.study,
        provenance={"commit": git_commit(), **package_versions()},
    )
