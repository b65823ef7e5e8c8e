"""The tiny study, prepared and run."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tiny import tiny_model
from tiny_study import sentences, snakemake, study


@pytest.fixture(scope="session")
def prepare() -> Callable[[Path], Path]:
    """Fills a folder with the tiny study's files."""

    def fill(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        sentences(1, 12).to_csv(folder / "labelled.csv", index=False)
        corpus = sentences(2, 30)
        corpus[["text"]].to_csv(folder / "corpus.csv", index=False)
        tiny_model(folder / "model", texts=corpus["text"].tolist())
        (folder / "study.yaml").write_text(yaml.safe_dump(study(), sort_keys=False))
        return folder

    return fill


@pytest.fixture(scope="session")
def finished(prepare, tmp_path_factory) -> Path:
    """The working directory of one whole run of the tiny study. Tests must leave it as it is."""
    folder = prepare(tmp_path_factory.mktemp("tiny") / "study")
    answer = snakemake(folder)
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-4000:]
    return folder
