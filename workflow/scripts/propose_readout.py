from promptpool.runtime.job import job_of

with job_of(snakemake):
    from promptpool.choice.propose_readout import propose_readout

    given, params = snakemake.input, snakemake.params
    propose_readout(
        snakemake.output[0],
        pairs=given.pairs,
        texts=given.texts,
        states=params.states,
        vectors=list(given.vectors),
        statistics=list(given.statistics),
        readouts=params.readouts,
        criterion=params.criterion,
        lexical=dict(zip(params.lexical, given.lexical, strict=True)),
    )
