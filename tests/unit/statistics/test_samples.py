"""A variant's sample on a task is made of its own rows alone, wherever they stand in the table."""

import numpy as np
from promptpool.statistics.samples import VARIANT, samples_by_variant
from sample_tables import sample_facts, sample_scores


def test_a_sample_is_that_of_its_own_rows_whatever_the_order():
    scores, facts = sample_scores(), sample_facts()
    mixed = samples_by_variant(scores.sample(frac=1, random_state=3), facts)
    assert list(mixed) == sorted(mixed) and len(mixed) > 100
    for variant in [*mixed][::9]:
        own = scores[(scores[VARIANT] == list(variant)).all(axis=1)]
        for task, sample in mixed[variant].items():
            (alone,) = samples_by_variant(own[own["task"] == task], facts).values()
            (part,), (wanted,) = sample.parts, alone[task].parts
            assert sample.estimate == alone[task].estimate and sample.known == alone[task].known
            np.testing.assert_array_equal(part.experiments, wanted.experiments)
            np.testing.assert_array_equal(part.replicates, wanted.replicates)
            main = own[(own["task"] == task) & (own["metric"] == "main_score")]["value"]
            np.testing.assert_allclose(sample.estimate, main.mean(), rtol=1e-12)


def test_a_row_without_a_variant_counts_for_none():
    scores = sample_scores()
    assert samples_by_variant(scores.head(0), {}) == {}
    lost = scores.assign(prompt=scores["prompt"].where(scores["prompt"] != "eol"))
    assert {variant[3] for variant in samples_by_variant(lost, sample_facts())} == {*scores["prompt"]} - {"eol"}
