from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.scoring.map_texts import map_texts, task_labels

    spec, given = snakemake.params.spec, snakemake.input
    map_texts(
        snakemake.output[0],
        vectors=dict(zip(spec["adapters"], zip(given.vectors, snakemake.params.files, strict=True), strict=True)),
        texts=given.texts,
        labels=task_labels(spec["task"], snakemake.params.task, given.labelled),
        key=(spec["prompt"], spec["pooling"], spec["layer"]),
        most=spec["texts"],
        seed=snakemake.params.seed,
    )
