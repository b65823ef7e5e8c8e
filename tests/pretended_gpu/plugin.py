"""pytest -p pretended_gpu.plugin: a whole test run on the pretended GPU, so that tests/gpu is known to run."""

from pretended_gpu.device import pretended_gpu


def pytest_configure(config) -> None:
    device = pretended_gpu()
    device.__enter__()
    config.add_cleanup(lambda: device.__exit__(None, None, None))
