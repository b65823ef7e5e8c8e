from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.export.check_parity import check_parity
    from promptpool.export.readout_modules import fitted_readout
    from promptpool.hub.snapshots import pinned
    from promptpool.models.checkpoint import Checkpoint

    params = snakemake.params
    check_parity(
        snakemake.input.exported,
        snakemake.input.texts,
        snakemake.output[0],
        spec=params.spec,
        readout=fitted_readout(params.spec, snakemake.input.statistics),
        checkpoint=Checkpoint(
            **pinned(params.model, str(snakemake.input.snapshot)), adapter=params.adapter, **params.execution
        ),
        template=params.template,
    )
