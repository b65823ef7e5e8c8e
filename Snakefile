# promptpool: a decoder-only LLM -> a text-embedding model, and what each step of that bought.
# Read config.yaml first; one file of rules a stage; `snakemake --list-target-rules` names what to ask for.
from promptpool.artifacts import file_digest
from promptpool.boilerplate import BOILERPLATE_FILE
from promptpool.config import resolve
from promptpool.errors import PromptpoolError
from promptpool.preflight import require_hub, share_package
from promptpool.sources import code_digest
from promptpool.study import Study
from snakemake.exceptions import WorkflowError

if not workflow.config_settings.configfiles:

    configfile: "config.yaml"


try:
    study = Study(resolve(config, str(([*workflow.config_settings.configfiles, "config.yaml"])[0])))
except PromptpoolError as error:
    raise WorkflowError(str(error)) from None

config |= study.config  # so that scripts read it with its defaults
share_package()

R = study.results
DEVICE = study["device"]


wildcard_constraints:
    model="[^/]+",
    adapter="[^/]+",
    task="[^/]+",
    family="[^/]+",
    prompt="[^/]+",
    name="[^/]+",


include: "workflow/rules/prefetch.smk"
include: "workflow/rules/corpus.smk"
include: "workflow/rules/tasks.smk"
include: "workflow/rules/pairs.smk"
include: "workflow/rules/adapters.smk"
include: "workflow/rules/embeddings.smk"
include: "workflow/rules/scores.smk"
include: "workflow/rules/attention.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/figure_data.smk"
include: "workflow/rules/report.smk"


rule all:
    """The whole study: scores, ablations, attention, figures, report and exported models."""
    default_target: True
    input:
        rules.report.output,
        rules.scores.input,
        rules.models.input,


onstart:
    try:
        require_hub(study.unfetched(), DEVICE)
    except PromptpoolError as error:
        raise WorkflowError(str(error)) from None
