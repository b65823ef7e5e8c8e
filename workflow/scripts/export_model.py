from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.export.export_model import Training, export_model
    from promptpool.export.readout_modules import fitted_readout
    from promptpool.hub.snapshots import pinned
    from promptpool.models.checkpoint import Checkpoint

    given, params = snakemake.input, snakemake.params
    export_model(
        snakemake.output[0],
        name=snakemake.wildcards.name,
        spec=params.spec,
        readout=fitted_readout(params.spec, snakemake.input.statistics),
        checkpoint=Checkpoint(**pinned(params.model, str(given.snapshot)), adapter=params.adapter),
        template=params.template,
        headline=given.summary,
        facts=list(given.facts),
        results=list(given.results),
        long_texts=params.get("long_texts", {}),
        training=Training(pairs=params.pairs, qc=list(given.qc), recipe=params.recipe, corpora=list(given.corpora)),
    )
