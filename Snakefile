# promptpool: turns a decoder-only LLM into a text-embedding model, and measures the effect of each step.
# Read config.yaml first. Each stage has a file of rules; `snakemake --list-target-rules` lists the targets.
import os
import sys

from promptpool.artifacts.files import file_digest
from promptpool.config.packaged import left_out
from promptpool.config.resolve import resolve
from promptpool.errors import PromptpoolError
from promptpool.runtime.gpu_leases import visible_devices
from promptpool.runtime.slurm_patch import outlast
from promptpool.study.model_checks import require_models
from promptpool.study.preflight import pin, require_gpu, require_hub, share_package
from promptpool.runtime.runs import begin_run
from promptpool.runtime.code_digest import code_digest, keep_digests, recall_digests, use_scripts
from promptpool.study.study import Study
from snakemake.exceptions import WorkflowError

if not workflow.config_settings.configfiles:

    configfile: "config.yaml"


CONFIG = [str(path) for path in workflow.config_settings.configfiles] or ["config.yaml"]

LEFT_OUT = left_out(config)
try:
    share_package("conda" in map(str, workflow.deployment_settings.deployment_method))
    study = Study(resolve(config, CONFIG, files=workflow.is_main_process))
except PromptpoolError as error:
    raise WorkflowError(str(error)) from None

config |= study.config  # so that scripts read it with its defaults
use_scripts(f"{workflow.basedir}/workflow/scripts")
DIGESTS = ".snakemake/promptpool_code.json"
recall_digests(DIGESTS)

# On one machine, a limit makes jobs that ask for GPUs wait for each other. A job itself finds out which GPU it gets
# (runtime/gpu_leases.py). On a cluster the scheduler does this, and there is no limit: Snakemake would lower the jobs'
# requests to what the login node has. So early, only `--jobs` shows which of the two it is: Snakemake sets it only for
# executors other than the local one.
LOCAL = workflow.resource_settings.nodes is None
GPUS = visible_devices()
if LOCAL and GPUS:
    workflow.global_resources.setdefault("gpu", len(GPUS) * study["jobs_per_gpu"])

outlast(sys.modules.get("snakemake_executor_plugin_slurm"))

R = study.results
DEVICE = study["device"]
# Only set if there is a cache, because Snakemake otherwise warns about every such rule.
CACHE = "omit-software" if os.environ.get("SNAKEMAKE_OUTPUT_CACHE") else False
CORES = workflow.resource_settings.cores or 8  # a cluster gives no number: the most that one job may ask for


if study["container"]:

    container: study["container"]


wildcard_constraints:
    model="[^/]+",
    adapter="[^/]+",
    task="[^/]+",
    share="[^/]+",
    name="[^/]+",


include: "workflow/rules/plan.smk"
include: "workflow/rules/prefetch.smk"
include: "workflow/rules/corpus.smk"
include: "workflow/rules/tasks.smk"
include: "workflow/rules/pairs.smk"
include: "workflow/rules/adapters.smk"
include: "workflow/rules/embeddings.smk"
include: "workflow/rules/readouts.smk"
include: "workflow/rules/scores.smk"
include: "workflow/rules/attention.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/figure_data.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"


if workflow.is_main_process:
    keep_digests(DIGESTS)


rule all:
    """The whole study: scores, ablations, attention, figures, report and exported models."""
    default_target: True
    input:
        rules.report.input,
        rules.scores.input,
        rules.models.input,


onstart:
    warning = None
    try:
        if set(workflow.dag_settings.targets) != {"plan"}:  # it reports itself what is missing
            require_models(study)
            require_hub(study.unfetched(), DEVICE)
            fetches = [job.wildcards for job in workflow.dag.needrun_jobs() if job.rule.name == "fetch_snapshot"]
            pin(R, study.wanted([f"{one.kind}/{one.snapshot}" for one in fetches]))
            warning = require_gpu(len(GPUS), DEVICE) if LOCAL else None
    except PromptpoolError as error:
        raise WorkflowError(str(error)) from None
    for line in filter(None, [*LEFT_OUT, warning]):
        logger.warning(line)
    begin_run()
