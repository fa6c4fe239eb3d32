import pickle
from copy import deepcopy

import numpy as np
import pytest
import xarray as xr

from bayescale.errors import SpecError
from bayescale.laws import Law, Parameter, get, names, register
from bayescale.laws import law as law_module

PARAMETERS = {"L0": "positive", "a": "positive", "b": (0, 2)}


def moe(N, experts, L0, a, b):
    return L0 + (N * experts**b) ** -a


def law_of(mean=moe, **changes):
    spec = {"name": "moe", "inputs": ("N", "experts"), "parameters": PARAMETERS, "mean": mean}
    return Law(**{**spec, **changes})


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(law_module, "_REGISTRY", dict(law_module._REGISTRY))


def test_a_law_of_the_users_own_works_without_xp():
    law = law_of(lambda N, experts, L0, a, b: L0 + (N * experts**b) ** -a)
    assert law(N=1e6, experts=4, L0=1.0, a=0.5, b=1.0) == pytest.approx(1.0005)


def test_a_law_of_the_users_own_gets_xp_if_it_asks_for_it():
    law = law_of(lambda xp, N, experts, L0, a, b: L0 + xp.exp(-a * xp.log(N * experts**b)))
    assert law(N=1e6, experts=4, L0=1.0, a=0.5, b=1.0) == pytest.approx(1.0005)
    labelled = law(N=xr.DataArray([1e6], dims="point"), experts=4, L0=1.0, a=0.5, b=1.0)
    assert labelled.dims == ("point",)


def test_supports_are_short_for_parameters():
    law = law_of(parameters={"L0": Parameter("real", "nats"), "a": "unit", "b": (0, 2)})
    assert list(law.parameters) == ["L0", "a", "b"]
    assert law.parameters["L0"] == Parameter("real", "nats")
    assert law.parameters["a"] == Parameter("unit")
    assert law.parameters["b"].support == (0.0, 2.0)


def test_one_input_may_be_given_without_a_tuple():
    law = Law("one", "N", {"a": "positive"}, lambda N, a: N**-a)
    assert law.inputs == ("N",)
    assert law(N=4, a=0.5) == 0.5


def test_lists_integers_and_series_are_taken_as_numbers():
    law = get("size")
    values = {"E": 0, "A": 1, "alpha": 1}
    np.testing.assert_allclose(law(N=[1, 2, 4], **values), [1, 0.5, 0.25])
    np.testing.assert_allclose(law(N=np.array([1, 2]), E=0, A=1, alpha=np.int64(2)), [1, 0.25])
    labelled = law(N=xr.DataArray([1, 2], dims="point"), **values)
    np.testing.assert_allclose(labelled, [1, 0.5])


def test_arguments_are_not_changed():
    N = np.array([1, 2, 4])
    get("size")(N=N, E=0.0, A=1.0, alpha=1.0)
    assert N.dtype == int and list(N) == [1, 2, 4]


@pytest.mark.parametrize(
    ("mean", "words"),
    [
        (lambda N, experts, L0, a: L0, ["it lacks `b`"]),
        (lambda N, experts, L0, a, beta: L0, ["it lacks `b`", "it has `beta` besides"]),
        (lambda N, T, L0, a, b: L0, ["it lacks `experts`", "it has `T` besides"]),
        (lambda N, experts, L0, a, b, c: L0, ["it has `c` besides"]),
        (lambda N, experts, L0, a, b, /: L0, ["it has `N`, `experts`"]),
        ("moe", ["must be a function"]),
    ],
)
def test_one_error_names_the_arguments_that_do_not_match(mean, words):
    with pytest.raises(SpecError) as error:
        law_of(mean)
    assert "the law `moe`" in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_a_default_or_open_keywords_are_no_mismatch():
    assert law_of(lambda N, experts, L0, a, b, floor=2.0: L0 + floor)(
        N=1.0, experts=1.0, L0=1.0, a=1.0, b=1.0
    ) == pytest.approx(3.0)
    law = law_of(lambda **given: given["L0"] + given["N"] ** -given["a"])
    assert law(N=4.0, experts=1.0, L0=1.0, a=0.5, b=1.0) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parameters": {"L0": "positiv", "a": "unit", "b": "unit"}}, "Did you mean 'positive'?"),
        ({"parameters": {"L0": (2, 1), "a": "unit", "b": "unit"}}, r"\(low, high\) in this order"),
        ({"parameters": {"L0": (0, float("inf")), "a": "unit"}}, "two finite numbers"),
        ({"parameters": {"L0": None, "a": "unit", "b": "unit"}}, "Parameter `L0` of the law `moe`"),
        ({"parameters": {}}, "mapping of name to support"),
        ({"parameters": {"N": "positive", "a": "unit"}}, "`N` is named twice"),
        ({"parameters": {"sigma": "positive", "a": "unit"}}, "a fit uses for itself"),
        ({"parameters": {"not a name": "positive"}}, "must be a name"),
        ({"inputs": ()}, "has no inputs"),
        (
            {"parameters": {"L0": Parameter(of="T"), "a": "unit", "b": "unit"}},
            "`L0` of the law `moe` refers to the input `T`",
        ),
        (
            {"parameters": {"L0": Parameter(prefactor={"N": "-c"}), "a": "unit", "b": "unit"}},
            "refers to the parameter `c`",
        ),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused_with_the_name(changes, words):
    with pytest.raises(SpecError, match=words):
        law_of(**changes)


def test_an_unknown_role_lists_the_roles():
    with pytest.raises(SpecError, match=r"Did you mean 'exponent'\?.*'floor'"):
        Parameter(role="exponents")


def test_missing_and_unknown_values_are_named_together():
    with pytest.raises(SpecError) as error:
        get("additive")(N=1.0, D=1.0, E=1.0, A=1.0, B=1.0, alpha=1.0)
    assert "missing: `T`, `beta`; not known to it: `D`" in str(error.value)


def test_bounds_follow_the_support():
    assert Parameter("unit").contains(0.5) and not Parameter("unit").contains(1.0)
    assert Parameter("real").contains(-1e9)
    assert not Parameter("positive").contains(0.0)
    assert Parameter((1, 3)).bounds == (1.0, 3.0)


def test_reference_scales_move_on_a_copy():
    law = get("interacting")
    moved = law.at_scales(N=1e6)
    assert moved.scales == {"N": 1e6, "T": law.scales["T"]}
    assert get("interacting").scales["N"] == law.scales["N"] != 1e6
    at = {"N": 1e6, "T": moved.scales["T"]}
    values = {"E": 1.0, "A": 0.5, "B": 0.25, "alpha": 1, "beta": 1, "kappa": 1, "delta": 1}
    assert moved(**at, **values) == pytest.approx(1.75)  # at the reference point the terms add


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_reference_scale_is_a_positive_number(value):
    with pytest.raises(SpecError, match="must be above zero"):
        get("interacting").at_scales(N=value)


def test_an_unknown_reference_scale_is_named():
    with pytest.raises(SpecError, match="no reference scale `U`; it has: `N`, `T`"):
        get("interacting").at_scales(U=1.0)
    with pytest.raises(SpecError, match="it has: none"):
        get("additive").at_scales(N=1.0)


def test_an_unknown_law_lists_what_exists_and_the_nearest():
    with pytest.raises(SpecError) as error:
        get("aditive")
    assert "Did you mean 'additive'?" in str(error.value)
    for name in names():
        assert name in str(error.value)


def test_registered_laws_are_found_by_name(registry):
    law = register(law_of())
    assert get("moe") is law and names()[-1] == "moe"


def test_defining_a_law_twice_in_a_notebook_is_no_conflict(registry):
    def again():
        return law_of(lambda N, experts, L0, a, b: L0 + (N * experts**b) ** -a)

    register(again())
    register(again())


def test_another_law_of_a_taken_name_needs_overwrite(registry):
    register(law_of())
    other = law_of(lambda N, experts, L0, a, b: L0)
    with pytest.raises(SpecError, match="There is a law `moe` already"):
        register(other)
    assert register(other, overwrite=True) is get("moe")


def test_a_law_describes_itself():
    text = get("isoflop").describe()
    assert text.startswith("isoflop: L = E + K C^-gamma")
    assert "inputs: N, flops" in text and "exponent of the best size" in text
    assert repr(get("size")) == "Law('size': L = E + A N^-alpha)"
    assert law_of().formula == "loss = moe(N, experts, L0, a, b)"


def test_laws_are_values():
    assert law_of() == law_of() and hash(law_of()) == hash(law_of())
    assert law_of() != law_of(response="fid")
    assert deepcopy(get("broken")) == get("broken")
    assert pickle.loads(pickle.dumps(get("broken"))) == get("broken")
