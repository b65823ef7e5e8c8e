from promptpool.artifacts.integrity import verify
from promptpool.demo_model.train_base_model import train_base_model

verify(snakemake.input)
# No log redirection, so that an hour of training shows its progress.
train_base_model(snakemake.input[0], snakemake.output[0], snakemake.params.spec, snakemake.log[0])
