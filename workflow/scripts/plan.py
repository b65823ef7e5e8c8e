from promptpool.job import job_of
from promptpool.leases import visible_devices

# It has no output, so that it is made whenever it is asked for: what is missing changes by itself.
gpus = len(visible_devices())  # before the job hides them from what asks for none
with job_of(snakemake, online=True):
    from promptpool.plan import write_plan
    from promptpool.study import Study

    study = Study(snakemake.config)
    text = write_plan(study, f"{study.results}/plan.txt", gpus)
print(text, flush=True)
