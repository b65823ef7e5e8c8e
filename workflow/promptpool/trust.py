"""How what others made is loaded: weights from safetensors alone, and none of a repository's own code.

Left to itself, transformers asks at the terminal whether to run such code, and takes pickles for want of others.
"""

NO_CODE = {"trust_remote_code": False}
SAFE = {**NO_CODE, "use_safetensors": True}
