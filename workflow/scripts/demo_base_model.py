from promptpool.base_model import train_base_model
from promptpool.integrity import verify

verify(snakemake.input)
# No log redirection: an hour's training shows its progress.
train_base_model(snakemake.input[0], snakemake.output[0], snakemake.params.spec, snakemake.log[0])
