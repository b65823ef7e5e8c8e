# The workflow lies in workflow/Snakefile. This file is for paths such as `--snakefile promptpool/Snakefile`.
include: "workflow/Snakefile"


workflow.default_target = "all"  # an included file has none of its own
