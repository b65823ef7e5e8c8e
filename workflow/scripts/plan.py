from promptpool.runtime.gpu_leases import visible_devices
from promptpool.runtime.job import job_of

# It has no output, so it runs whenever asked for, because what is missing can change at any time.
gpus = len(visible_devices())  # before the job hides them from processes that asked for none
with job_of(snakemake, online=True):
    from promptpool.study.plan import plan
    from promptpool.study.study import Study

    study = Study(snakemake.config)
    text = plan(study, f"{study.results}/plan.txt", gpus)
print(text, flush=True)
