from promptpool.runtime.gpu_leases import visible_devices
from promptpool.runtime.job import job_of

# It has no output, so that it is made whenever it is asked for: what is missing changes by itself.
gpus = len(visible_devices())  # before the job hides them from what asks for none
with job_of(snakemake, online=True):
    from promptpool.study.plan import plan
    from promptpool.study.study import Study

    study = Study(snakemake.config)
    text = plan(study, f"{study.results}/plan.txt", gpus)
print(text, flush=True)
