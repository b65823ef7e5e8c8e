"""With several config files, a fault is put down to the one that it stands in."""

import pytest
import yaml
from promptpool.config.resolve import resolve
from promptpool.config.sources import file_at_fault
from promptpool.errors import PromptpoolError
from sample_config import demo


@pytest.fixture
def files(tmp_path):
    first, second = tmp_path / "study.yaml", tmp_path / "mine.yaml"
    first.write_text(yaml.safe_dump({"grid": {"layers": [-1]}, "adapters": {"a.b": {"rank": 1}}, "seed": 1}))
    second.write_text(yaml.safe_dump({"grid": {"poolings": ["maen"]}, "seed": 2}))
    return [str(first), str(second)]


@pytest.mark.parametrize(
    ("problem", "at_fault"),
    [
        ("grid.poolings: unknown pooling 'maen'", 1),
        ("grid.layers: no layer 99", 0),
        ("adapters.a.b.rank: too small", 0),
        ("seed: expected a whole number", 1),  # the later file's is the one that counts
        ("models: missing; add it", 0),
    ],
)
def test_the_file_that_holds_the_key_is_named(files, problem, at_fault):
    assert file_at_fault(problem, files) == files[at_fault]


def test_a_fault_of_the_second_file_is_told_of_it(files):
    config = demo(grid__poolings=["maen"])
    with pytest.raises(PromptpoolError) as caught:
        resolve(config, files)
    assert str(caught.value).startswith(f"{files[1]}: grid.poolings")


def test_one_file_is_named_whatever_is_wrong(files):
    assert file_at_fault("nothing.like.it: x", files[:1]) == files[0]
