"""The report holds what it must, and nothing from outside."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import bayescale as bs

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Outline(HTMLParser):
    """Headings, classes and targets of a page; complains of tags that do not close."""

    def __init__(self, text):
        super().__init__()
        self.headings, self.classes, self.targets, self.open = [], set(), [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.classes |= {c for k, v in attrs if k == "class" for c in v.split()}
        self.targets += [v for k, v in attrs if k in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


@pytest.fixture(scope="module")
def full(chinchilla_fit, tmp_path_factory):
    plan = bs.plan(chinchilla_fit, budget_flops=1e22)
    check = bs.check(chinchilla_fit)
    prediction = bs.predict(chinchilla_fit, {"N": [7e10], "T": [1.4e12]})
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert bs.report(chinchilla_fit, path, plan, check, prediction) == path
    return path.read_text(encoding="utf-8"), plan, check, prediction


def test_sections_come_in_the_order_of_a_reader(full):
    assert Outline(full[0]).headings == [
        "Scaling law of chinchilla: additive", "Answer", "Beyond the data", "Checks", "Numbers",
        "Figures", "Model", "Parameters", "Data", "How this was made",
    ]  # fmt: skip


def test_the_answer_is_the_text_of_the_answers(full):
    text, plan, _, prediction = full
    for line in (*plan.text.splitlines(), *prediction.text.splitlines()):
        assert line in text


def test_every_card_is_there_with_its_status_and_next_action(full):
    text, _, check, _ = full
    for card in check.cards:
        assert f">{card.title}<" in text
        assert card.status in Outline(text).classes
    assert text.count('class="card ') == len(check.cards)


def test_nothing_is_loaded_from_outside(full):
    text = full[0]
    assert all(t.startswith("data:image/png;base64,") for t in Outline(text).targets)
    assert not re.search(r"https?://|@import|url\(|<script|<link", text)


def test_figures_are_pictures_with_words_for_those_who_cannot_see_them(full):
    pictures = re.findall(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]*)"', full[0])
    assert len(pictures) == 7
    for words, data in pictures:
        assert len(words) > 20
        assert base64.b64decode(data).startswith(b"\x89PNG\r\n")


def test_parameters_priors_and_their_reasons_are_told(full, chinchilla_fit):
    text = full[0]
    assert "L = E + A N^-alpha + B T^-beta" in text
    for name in ("E", "A", "B", "alpha", "beta", "sigma", "nu"):
        assert f"<td class=words>{name}</td>" in text
    median = float(chinchilla_fit["posterior"]["alpha"].median())
    assert f"<td>{median:.3f}</td>" in text
    assert "LogNormal(median 0.35" in text
    assert "Chosen" in text
    assert "<th>5 %</th><th>95 %</th>" in text


def test_seed_versions_and_hash_allow_making_it_again(full, chinchilla_fit):
    from bayescale.inference.tree import opened

    spec = opened(chinchilla_fit).spec
    for expected in (spec["runs_hash"][:16], "random seed", f"jax {spec['versions']['jax']}"):
        assert expected in full[0]


def test_the_same_fit_gives_the_same_file(chinchilla_fit, tmp_path):
    one = bs.report(chinchilla_fit, tmp_path / "one.html").read_bytes()
    assert bs.report(chinchilla_fit, tmp_path / "two.html").read_bytes() == one


def test_without_answers_the_law_speaks(chinchilla_fit, tmp_path):
    text = bs.report(chinchilla_fit, tmp_path / "r.html", title="A <title>").read_text("utf-8")
    assert "The compute-optimal size grows as C^0.5" in text
    assert "<h1>A &lt;title&gt;</h1>" in text
    assert "Checks" not in Outline(text).headings
    assert "failed" not in Outline(text).classes


def test_a_failed_fit_is_red_on_top(chinchilla_fit, tmp_path):
    fit = chinchilla_fit.copy()
    spec = fit.attrs["bayescale"].replace('"status": "ok"', '"status": "failed"')
    fit.attrs["bayescale"] = spec.replace('"messages": []', '"messages": ["R-hat 1.4 for E."]')
    text = bs.report(fit, tmp_path / "r.html").read_text("utf-8")
    assert text.index('class="failed"') < text.index('class="answer"')
    assert text.count("FAILED FIT, do not use: R-hat 1.4 for E.") == 1


def test_rows_set_aside_are_counted_by_reason(two_families, tmp_path):
    table = {k: two_families[k].values[:30].copy() for k in ("N", "T", "loss")}
    table["loss"][:2] = np.nan
    table["status"] = ["diverged", "diverged", *["done"] * 28]
    runs = bs.as_runs(table)
    fit = bs.fit(bs.LossModel(), runs, method="fast", draws=250, progressbar=False)
    text = bs.report(fit, tmp_path / "r.html").read_text("utf-8")
    assert "<td class=words>diverged</td><td>2</td>" in text
    assert "30 runs; 28 readings fitted." in text


def test_a_fit_with_families_lists_each(two_families, tmp_path):
    model = bs.LossModel(family="separate")
    fit = bs.fit(model, two_families, method="fast", draws=500, progressbar=False)
    text = bs.report(fit, tmp_path / "r.html").read_text("utf-8")
    assert "<td class=words>alpha</td><td class=words>a</td>" in text
    assert "<td class=words>alpha</td><td class=words>b</td>" in text
    assert "a law for each family, nothing shared" in text


def test_a_law_of_compute_alone_has_a_report(tmp_path):
    truth = {"E": 1.8, "K": 2e3, "gamma": 0.17}
    runs = bs.datasets.simulate("compute", truth, flops=np.geomspace(1e18, 1e21, 24))
    fit = bs.fit(bs.LossModel("compute"), runs, method="fast", draws=250, progressbar=False)
    prediction = bs.predict(fit, {"flops": [1e22]})
    text = bs.report(fit, tmp_path / "r.html", prediction=prediction).read_text("utf-8")
    assert "L = E + K C^-gamma" in text
    assert "The data reach compute to 1e21 FLOP" in text
    assert text.count("<figure") == 4


def test_what_is_no_answer_and_what_is_no_folder_is_said(chinchilla_fit, tmp_path):
    with pytest.raises(bs.errors.DataError, match=r"`plan` is an answer, from bayescale.plan"):
        bs.report(chinchilla_fit, tmp_path / "r.html", plan={"N": 1e9})
    with pytest.raises(bs.errors.DataError, match="No folder"):
        bs.report(chinchilla_fit, tmp_path / "nowhere" / "r.html")
