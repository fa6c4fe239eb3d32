"""Advice of other studies comes out in tokens and as a peak rate, as their papers print it."""

import math

import numpy as np
import pytest

from bayescale import datasets
from bayescale.errors import SpecError
from bayescale.laws.power_law import PowerLaw
from bayescale.laws.published import PUBLISHED
from bayescale.laws.published_hyperparameters import (
    HYPERPARAMETER_LAWS,
    RESPONSES,
    STUDIES,
    every_published_hyperparameter,
    published_hyperparameters,
)


def test_video_paper_at_one_billion():
    """The two printed cells: 4B and 10B tokens at 1.07B parameters."""
    advice = published_hyperparameters("video_dit")(N=1.07e9, T=[4e9, 1e10])
    np.testing.assert_allclose(advice["batch_size"], [6.77e4, 1.42e5], rtol=4e-3)
    np.testing.assert_allclose(advice["learning_rate"], [1.86e-4, 1.78e-4], rtol=4e-3)


@pytest.mark.parametrize(("N", "sequences", "rate"), [(7e9, 2304, 4.2e-4), (67e9, 4608, 3.2e-4)])
def test_deepseek_gives_what_deepseek_trained_with(N, sequences, rate):
    """Batch (sequences of 4,096) and rate of their 7B and 67B models at 2T tokens, from the
    README of their repository; 6 N T stands in for their own count of compute."""
    advice = published_hyperparameters("deepseek")(N=N, T=2e12)
    assert float(advice["batch_size"]) == pytest.approx(sequences * 4096, rel=0.05)
    assert float(advice["learning_rate"]) == pytest.approx(rate, rel=0.02)


def test_moonlight_by_hand():
    advice = published_hyperparameters("moonlight")(flops=6e20)
    log_flops = math.log(6e20)
    assert float(advice["batch_size"]) == pytest.approx(0.0065 * math.exp(0.4138 * log_flops))
    assert float(advice["learning_rate"]) == pytest.approx(0.0127 * math.exp(-0.057 * log_flops))


def test_steplaw_by_hand():
    advice = published_hyperparameters("steplaw")(N=1e9, T=1e11)
    assert float(advice["batch_size"]) == pytest.approx(0.58 * 10 ** (11 * 0.571))
    assert float(advice["learning_rate"]) == pytest.approx(1.79 * 10 ** (-9 * 0.713 + 11 * 0.307))


def test_porian_at_its_reference_size():
    advice = published_hyperparameters("porian")(N=108e6)
    assert float(advice["batch_size"]) == pytest.approx(160 * 2048)
    assert float(advice["learning_rate"]) == pytest.approx(0.0047)
    eight = published_hyperparameters("porian")(N=8 * 108e6)
    assert float(eight["batch_size"]) == pytest.approx(4 * 160 * 2048)
    assert float(eight["learning_rate"]) == pytest.approx(0.0047 / 2)


@pytest.mark.parametrize(("size", "batch"), [(85, 745), (151, 955), (302, 1394), (604, 1889)])
def test_critical_batch_of_zhang_is_near_the_printed_ones(size, batch):
    """Their line goes through four printed batches within 4 %, in sequences of 512."""
    law = published_hyperparameters("zhang_critical")(N=size * 1e6)
    assert float(law["batch_size"]) / 512 == pytest.approx(batch, rel=0.04)
    assert "learning_rate" not in law


def test_mup_scales_hidden_rates_from_the_base_width():
    study = published_hyperparameters("mup_dit")
    assert float(study(width=288)["learning_rate"]) == 2.0**-10
    assert float(study(width=1152)["learning_rate"]) == 2.0**-12
    with pytest.raises(SpecError) as raised:
        study(N=1e9, T=1e11)
    assert str(raised.value) == "The law of `learning_rate` of 'mup_dit' needs width; got N, T."


def test_gidd_has_exponents_only_and_says_how_to_go_on():
    gidd = published_hyperparameters("gidd")
    assert not gidd.complete
    with pytest.raises(SpecError) as raised:
        gidd(T=1e11)
    assert "exponents of `batch_size` and no coefficient" in str(raised.value)
    assert ".anchored(batch_size=..., T=...)" in str(raised.value)
    here = gidd.anchored(T=1e10, batch_size=2.6e5, learning_rate=1e-3)
    assert here.complete
    at = here(T=1e10)
    assert float(at["batch_size"]) == pytest.approx(2.6e5)
    assert float(at["learning_rate"]) == pytest.approx(1e-3)
    far = here(T=1e11)
    assert float(far["batch_size"]) == pytest.approx(2.6e5 * 10**0.8225)
    assert float(far["learning_rate"]) == pytest.approx(1e-3 * 10 ** (0.8225 * 0.34))


def test_rate_answers_to_a_batch_of_the_users_own():
    gidd = published_hyperparameters("gidd").anchored(T=1e10, batch_size=1e5, learning_rate=1e-3)
    own = gidd(T=1e10, batch_size=1.6e6)
    assert list(own) == ["learning_rate"]
    assert float(own["learning_rate"]) == pytest.approx(1e-3 * 16**0.34)


def test_printed_exponents_can_go_through_a_point_of_ones_own():
    study = published_hyperparameters("video_dit").anchored(N=1e8, T=1e9, batch_size=5e4)
    assert float(study(N=1e8, T=1e9)["batch_size"]) == pytest.approx(5e4)
    assert float(study(N=1e9, T=1e9)["batch_size"]) == pytest.approx(5e4 * 10**0.1906)
    printed = published_hyperparameters("video_dit")(N=1e8, T=1e9)["learning_rate"]
    assert float(study(N=1e8, T=1e9)["learning_rate"]) == pytest.approx(float(printed))


@pytest.mark.parametrize("kind", ["gidd", "gidd_uniform", "gidd_masked"])
def test_gidd_exponents_are_the_printed_ones(kind):
    laws = published_hyperparameters(kind).laws
    expected = {"gidd": 0.8225, "gidd_uniform": 0.8787, "gidd_masked": 0.7759}[kind]
    assert laws["batch_size"].exponents == {"T": expected}
    assert laws["learning_rate"].exponents == {"batch_size": 0.34}


def test_every_study_answers_in_sane_units():
    """Between sequences taken for tokens and rates in 1e-4 units there are factors of 500."""
    advice = every_published_hyperparameter(N=1e9, T=1e11, width=1152)
    assert set(advice) == {name for name, study in STUDIES.items() if study.complete}
    for each in advice.values():
        assert set(each) <= set(RESPONSES)
        assert 1e5 < float(each.get("batch_size", 1e6)) < 1e7
        assert 1e-4 < float(each.get("learning_rate", 1e-3)) < 3e-3


def test_studies_that_lack_an_input_are_left_out():
    assert set(every_published_hyperparameter(N=1e9)) == {"porian", "zhang_critical"}
    assert set(every_published_hyperparameter(flops=1e21)) == {"deepseek", "moonlight"}


def test_every_law_belongs_to_a_study_and_to_the_catalogue():
    used = {id(law) for study in STUDIES.values() for law in study.laws.values()}
    assert all(id(law) in used for law in HYPERPARAMETER_LAWS.values())
    assert all(PUBLISHED[name] is law for name, law in HYPERPARAMETER_LAWS.items())
    for study in STUDIES.values():
        assert study.accounting and study.source


def test_constants_agree_with_the_table_of_papers():
    """The bundled table writes the laws as text: ``0.58*D^0.571``."""
    rows = datasets.paper("hyperparameter_laws").set_index("work")
    for work, name in (
        ("Video DiT", "video_dit"), ("DeepSeek LLM", "deepseek"), ("StepLaw", "steplaw"),
        ("Moonlight", "moonlight"),
    ):  # fmt: skip
        for column, key in (("B_opt", "batch"), ("eta_opt", "learning_rate")):
            law = HYPERPARAMETER_LAWS[f"{name}_{key}"]
            head, *powers = rows.loc[work, column].split("*")
            assert float(head) == law.coefficient
            printed = dict(power.replace("D", "T").split("^") for power in powers)
            printed = {"flops" if k == "C" else k: float(v) for k, v in printed.items()}
            assert printed == dict(law.exponents)


def test_wrong_names_are_told_what_there_is():
    with pytest.raises(SpecError) as raised:
        published_hyperparameters("deepsek")
    message = str(raised.value)
    assert message.startswith("No published hyperparameters 'deepsek'. Did you mean 'deepseek'?")
    assert all(name in message for name in STUDIES)
    with pytest.raises(SpecError) as raised:
        published_hyperparameters("deepseek")(N=1e9)
    assert str(raised.value) == (
        "The law of `batch_size` of 'deepseek' needs flops (or N and T, for 6 N T); got N."
    )


def test_an_anchor_needs_everything_and_positive_values():
    law = PowerLaw("batch_size", None, {"T": 0.5}, "made up 2024")
    with pytest.raises(SpecError, match="An anchor needs `batch_size` beside T; got T"):
        law.anchored(T=1e9)
    with pytest.raises(SpecError, match="takes T; got nothing"):
        law.anchored(batch_size=1e5)
    with pytest.raises(SpecError, match="positive, finite values; `batch_size` is -1"):
        law.anchored(batch_size=-1, T=1e9)
