"""The report: one HTML file that shows what an experiment found, from tables alone."""

from __future__ import annotations

import csv
import dataclasses
import math
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from zoo.data.decode import Preview, encode_pixels
from zoo.errors import DataError, UnknownNameError, UsageError
from zoo.report.draw import Provenance
from zoo.report.figures import FIGURES
from zoo.report.page import render
from zoo.report.parts import PictureSource, ReportData, inline_svg
from zoo.report.sections import SECTIONS, duration_text
from zoo.store.schema import SCHEMA
from zoo.studies.findings import LINE_COLUMNS, Chart

SHAPES = (
    "disc",
    "ring",
    "square",
    "frame",
    "cross",
    "bar",
    "stripe",
    "triangle",
    "diamond",
    "dots",
)
SIDE = 28


def shape_picture(kind: int, seed: int) -> NDArray[np.uint8]:
    """A noisy grey picture of one of ten shapes, uint8 [28, 28, 1]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIDE, 0:SIDE] - (SIDE - 1) / 2 + random.uniform(-2, 2, size=(2, 1, 1))
    size = random.uniform(6, 10)
    radius = np.hypot(x, y)
    inside = (
        radius < size,
        abs(radius - size) < 2,
        np.maximum(abs(x), abs(y)) < size * 0.9,
        abs(np.maximum(abs(x), abs(y)) - size) < 1.6,
        (np.minimum(abs(x), abs(y)) < 2) & (radius < size * 1.2),
        (abs(x) < 2.5) & (abs(y) < size * 1.2),
        (np.floor((x + y) / 3) % 2 == 0) & (radius < size * 1.2),
        (y > -size) & (y < size) & (abs(x) < (y + size) / 2),
        abs(x) + abs(y) < size,
        (np.floor(x / 3) % 2 == 0) & (np.floor(y / 3) % 2 == 0) & (radius < size * 1.2),
    )[kind]
    light = np.where(inside, random.uniform(130, 240), random.uniform(0, 50)) + random.normal(
        0, 14, size=(SIDE, SIDE)
    )
    return np.clip(light, 0, 255).astype(np.uint8)[:, :, None]


def make_scores(
    split: str, n_examples: int, n_classifiers: int, noise: float, seed: int, n_classes: int = 10
) -> pd.DataFrame:
    """A scores table as a population would leave it: most examples easy, some hard, ``noise`` of
    the labels planted wrong."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, n_classes, n_examples)
    planted = random.random(n_examples) < noise
    other = (truth + random.integers(1, n_classes, n_examples)) % n_classes
    label = np.where(planted, other, truth)
    difficulty = random.beta(0.5, 2.2, n_examples) * np.where(truth % 3 == 0, 1.25, 0.85)
    miss_truth = np.clip(difficulty, 0, 0.97)
    p_miss = np.where(
        planted,
        1 - random.beta(0.6, 9, n_examples) * 0.6,
        np.where(difficulty > 0.8, 1.0, miss_truth),
    )
    x = random.binomial(n_classifiers, np.clip(p_miss, 0, 1)) / n_classifiers
    entropy = np.clip(
        2.9 * miss_truth**0.8 + random.normal(0, 0.12, n_examples), 0, np.log2(n_classes)
    )
    wrong = (label + 1 + (random.random(n_examples) < 0.3)) % n_classes
    top = np.where(x < 0.5, label, np.where(planted, truth, wrong))
    p_label = np.clip(1 - x + random.normal(0, 0.03, n_examples), 0, 1)
    return pd.DataFrame(
        {
            "split": split,
            "example_id": np.arange(n_examples),
            "key": [f"{split}/{index:05d}.png" for index in range(n_examples)],
            "label": label.astype(np.int64),
            "label_true": truth.astype(np.int64) if noise else np.full(n_examples, np.nan),
            "n": n_classifiers,
            "x_perplexity": x,
            "c_perplexity": 2**entropy,
            "mean_p_label": p_label,
            "label_quality": 1 - (n_classifiers * x + 1 - p_label) / (n_classifiers + 1),
            "top_confusion": top.astype(np.int64),
            "top_confusion_share": np.maximum(x, 1 - x),
        }
    )


def make_population(n_archs: int = 5) -> pd.DataFrame:
    """15 trainings of 5 snapshots each at 5 architectures: 75 classifiers."""
    random = np.random.default_rng(3)
    rows = []
    for index, arch in enumerate(
        ("softmax", "mlp", "lenet5", "vgg_mini", "resnet8", "nin_mini", "densenet_mini")[:n_archs]
    ):
        for fraction, replica in ((0.25, 1), (0.5, 1), (1.0, 1)):
            training = f"{index:04x}{int(fraction * 100):04x}{replica:08x}"
            for epoch in (2, 4, 6, 8, 10):
                accuracy = (
                    0.62
                    + 0.05 * index
                    + 0.07 * np.log2(4 * fraction) / 2
                    + 0.1 * (1 - np.exp(-epoch / 4))
                    + random.normal(0, 0.006)
                )
                rows.append(
                    {
                        "classifier_id": f"{training}-e{epoch:04d}",
                        "training_id": training,
                        "arch": arch,
                        "fraction": fraction,
                        "replica": replica,
                        "seed": 0,
                        "epoch": epoch,
                        "train_acc1": min(accuracy + 0.04, 1.0),
                        "test_acc1": accuracy,
                        "test_acc5": min(accuracy + 0.15, 1.0),
                    }
                )
    return pd.DataFrame(rows)


def make_arms(seeds: tuple[int, ...] = (0, 1, 2)) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(arms, comparisons) of five arms."""
    random = np.random.default_rng(5)
    told = (
        ("baseline", 0.812, ""),
        ("without-suspects", 0.838, ""),
        ("relabelled", 0.844, ""),
        ("random-like", 0.806, "control: as many removed at random"),
        ("true-labels", 0.857, "oracle: planted errors put right"),
    )
    luck = {seed: random.normal(0, 0.004) for seed in seeds}
    arms = pd.DataFrame(
        [
            {
                "arm": arm,
                "selection": None if arm == "baseline" else arm,
                "seed": seed,
                "n_train": 5000,
                "n_unique": 4700,
                "steps": 400,
                "acc1": accuracy + luck[seed] + random.normal(0, 0.003),
                "acc5": min(accuracy + 0.12, 1.0),
            }
            for arm, accuracy, _ in told
            for seed in seeds
        ]
    )
    base = arms[arms["arm"] == "baseline"].set_index("seed")["acc1"]
    rows = []
    for arm, _, note in told:
        value = arms[arms["arm"] == arm].set_index("seed")["acc1"]
        delta = value - base
        half, delta_half = (
            4.3 * s.std() / np.sqrt(len(s)) if len(s) > 1 else np.nan for s in (value, delta)
        )
        for on, lift in (("full", 0.0), ("c<2.15, x<0.7", 0.06)):
            rows.append(
                {
                    "arm": arm,
                    "on": on,
                    "metric": "acc1",
                    "mean": value.mean() + lift,
                    "low": value.mean() + lift - half,
                    "high": value.mean() + lift + half,
                    "n_seeds": len(seeds),
                    "delta": np.nan if arm == "baseline" else delta.mean(),
                    "delta_low": np.nan if arm == "baseline" else delta.mean() - delta_half,
                    "delta_high": np.nan if arm == "baseline" else delta.mean() + delta_half,
                    "note": note,
                }
            )
    return arms, pd.DataFrame(rows)


def make_detection(n_errors: int = 250) -> pd.DataFrame:
    names = ("label_quality", "x_perplexity", "x_heldout", "mean_margin", "c_perplexity", "random")
    return pd.DataFrame(
        {
            "score": names,
            "auroc": [0.981, 0.978, 0.984, 0.969, 0.613, 0.502],
            "average_precision": [0.871, 0.842, 0.889, 0.836, 0.081, 0.052],
            "precision_at_n": [0.812, 0.788, 0.824, 0.768, 0.092, 0.048],
            "recall_at_n": [0.812, 0.788, 0.824, 0.768, 0.092, 0.048],
            "n_errors": n_errors,
        }
    )


def make_convergence() -> pd.DataFrame:
    n = np.array([1, 2, 4, 8, 16, 32, 64, 75])
    parts = []
    for measure, speed in (("x", 2.2), ("c", 0.8)):
        mean = np.where(n == 75, 1.0, n / (n + speed) * 0.996)
        parts.append(
            pd.DataFrame(
                {
                    "measure": measure,
                    "n": n,
                    "mean": mean,
                    "low": mean - 0.1 / n,
                    "high": np.minimum(mean + 0.06 / n, 1),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def make_chart(name: str = "figure-01", title: str = "Label noise", **changes: Any) -> Chart:
    """Accuracy against label noise of two networks."""
    rows = [
        (title, arch, x, f"{x:.0%}", 0.9 - x * drop, 0.01, 3, False)
        for arch, drop in (("LeNet", 0.5), ("NIN", 1))
        for x in (0.1, 0.2)
    ]
    table = pd.DataFrame(rows, columns=list(LINE_COLUMNS))
    return dataclasses.replace(
        Chart(name, title, "lines", table, "noise", "accuracy", f"About {title}."), **changes
    )


def make_verdicts() -> pd.DataFrame:
    """Four claims, one of each verdict."""
    rows = [
        (
            "S1.01",
            "noise harms",
            "5 points",
            "4.9 points",
            0.049,
            0.002,
            3,
            "laptop",
            "holds",
            "at least 3 points",
            "all seeds agree",
            0.012,
            0.036,
        ),
        (
            "S1.02",
            "order matters",
            "2 points",
            "0.1 points",
            0.001,
            0.002,
            3,
            "laptop",
            "fails",
            "at least 1 point",
            None,
            0.001,
            0.004,
        ),
        (
            "S1.03",
            "size helps",
            "yes",
            "0.9 points",
            0.009,
            0.02,
            3,
            "laptop",
            "undecided",
            "at least 1 point",
            "the interval holds 1",
            0.4,
            0.8,
        ),
        (
            "S1.04",
            "inputs of 64 pixels",
            "figure 12",
            None,
            None,
            None,
            None,
            "laptop",
            "not tested",
            None,
            "needs scale paper",
            None,
            None,
        ),
    ]
    return pd.DataFrame(rows, columns=list(SCHEMA["verdicts"]))


NASTY = '"><script>alert(1)</script>'
FORMULA = '=HYPERLINK("#","x")'
HERE = Provenance(
    "demo", "demo", "shapes", 75, 5000, (0, 1, 2), "0.1.0", "abc1234", reproduces=True
)


class Page(HTMLParser):
    """What a browser would see of a page: tags with their attributes, text, tables without header
    cells."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr", "wbr"})

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join("".join(self.text).split())


def pictures_of(scores: Mapping[str, pd.DataFrame]) -> PictureSource:
    def pictures(split: str, example_ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        table = scores[split].set_index("example_id").loc[example_ids]
        kinds = table["label_true"].fillna(table["label"]).to_numpy(np.int64)
        return np.stack(
            [
                shape_picture(int(kind), int(index))
                for kind, index in zip(kinds, example_ids, strict=True)
            ]
        )

    return pictures


def demo(**changes: Any) -> ReportData:
    """A report of a demo as it would be: 5000 + 1000 examples, 75 classifiers, 10 classes, 5
    arms."""
    scores = {
        "train": make_scores("train", 5000, 75, 0.05, 1),
        "test": make_scores("test", 1000, 75, 0.0, 2),
    }
    arms, comparisons = make_arms()
    full = ReportData(
        title="Ten shapes",
        experiment="demo",
        scale="demo",
        provenance=HERE,
        scores=scores,
        population=make_population(),
        class_names=SHAPES,
        arms=arms,
        comparisons=comparisons,
        detection=make_detection(),
        convergence=make_convergence(),
        verdicts=pd.DataFrame(
            {"claim": ["S2.1"], "published": ["+2.6"], "measured": [2.4], "verdict": ["holds"]}
        ),
        charts=(make_chart(),),
        pictures=pictures_of(scores),
        timings={"train": 83.2, "fill": 12.1},
        next_command="zoo run population --scale laptop",
    )
    return dataclasses.replace(full, **changes)


def small(**changes: Any) -> ReportData:
    """A report with little in it: 40 examples, no arms."""
    scores = {"train": make_scores("train", 40, 5, 0.1, 1)}
    empty = ReportData("Small", "small", "paper", HERE, scores, make_population(1), SHAPES)
    return dataclasses.replace(empty, **changes)


def page_of(report: ReportData, folder: Path) -> tuple[str, Page]:
    html = render(report, folder / "report.html").read_text(encoding="utf-8")
    return html, Page(html)


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    render(demo(), folder / "report.html")
    return folder


@pytest.fixture(scope="module")
def demo_html(demo_folder: Path) -> str:
    return (demo_folder / "report.html").read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_under_three_megabytes(demo_html: str) -> None:
    assert Page(demo_html).open == []
    assert len(demo_html.encode()) < 3_000_000


def test_the_page_names_no_address_outside_itself(demo_html: str) -> None:
    assert "://" not in demo_html
    assert "@import" not in demo_html
    page = Page(demo_html)
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & {
        tag for tag, _ in page.tags
    }
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "xlink:href", "src"):
            address = attributes.get(name)
            if address is not None:
                assert address.startswith(
                    ("#", "figures/") if tag != "image" else "data:image/png;base64,"
                ), (tag, address)


def test_the_page_forbids_itself_to_load_anything(demo_html: str) -> None:
    policies = [
        a["content"]
        for tag, a in Page(demo_html).tags
        if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_every_id_is_unique_and_every_reference_has_its_target(demo_html: str) -> None:
    page = Page(demo_html)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {
        a[name][1:]
        for _, a in page.tags
        for name in ("href", "xlink:href")
        if (a.get(name) or "").startswith("#")
    }  # type: ignore[index]
    wanted |= set(re.findall(r"url\(#([^)]+)\)", demo_html))
    assert wanted <= set(ids)


def test_every_figure_says_what_it_is_and_links_its_files(
    demo_html: str, demo_folder: Path
) -> None:
    page = Page(demo_html)
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(drawings) == 10  # eight figures, the plane for both splits, one chart
    assert all(
        attributes.get("role") == "img" and attributes.get("aria-label") for attributes in drawings
    )
    linked = {
        a["href"] for tag, a in page.tags if tag == "a" and (a["href"] or "").startswith("figures/")
    }
    assert {f"figures/{name}.csv" for name in FIGURES} <= linked
    assert all((demo_folder / str(address)).is_file() for address in linked)


def test_every_table_has_a_caption_and_header_cells(demo_html: str) -> None:
    tags = [tag for tag, _ in Page(demo_html).tags]
    assert tags.count("table") == tags.count("caption") == tags.count("thead") > 5
    assert all(a.get("scope") in ("row", "col") for tag, a in Page(demo_html).tags if tag == "th")


def test_every_section_is_there_and_a_reduced_scale_is_marked(demo_html: str) -> None:
    page = Page(demo_html)
    for name, section in SECTIONS.items():
        if name not in ("findings", "files"):
            assert section.title in page.words
    assert "Left out" not in page.words
    assert "scale: demo; not the paper's" in page.words


def test_the_papers_scale_is_not_marked(tmp_path: Path) -> None:
    _, page = page_of(small(provenance=dataclasses.replace(HERE, scale="paper")), tmp_path)
    assert "not the paper's" not in page.words


@pytest.mark.parametrize("scale", ["laptop", "ad-hoc"])
def test_what_reproduces_no_paper_is_not_marked_as_not_the_papers(
    scale: str, tmp_path: Path
) -> None:
    _, page = page_of(
        demo(scale=scale, provenance=dataclasses.replace(HERE, scale=scale, reproduces=False)),
        tmp_path,
    )
    assert "not the paper's" not in page.words


@pytest.mark.parametrize("truth", ["unknown", "right"])
def test_a_page_says_nothing_of_known_errors_where_none_is_known(
    truth: str, tmp_path: Path
) -> None:
    """No tile, column or cell: neither as 0, nor as a dash. The page of ``small()`` itself has
    them."""
    wrong = make_scores("train", 40, 5, 0.1, 1)
    scores = wrong.assign(label_true=np.nan if truth == "unknown" else wrong["label"])
    sections = ("summary", "xc_plane", "suspects", "per_class")
    _, page = page_of(
        small(scores={"train": scores}, pictures=pictures_of({"train": scores}), sections=sections),
        tmp_path / "none",
    )
    assert "No label of these examples is known to be wrong" in page.words
    for text in ("planted", "known error", "known label error", "known truth", "label right"):
        assert text not in page.words.lower()
    for path in (tmp_path / "none" / "figures").glob("*.csv"):
        assert not re.search("planted|known_error", path.read_text().splitlines()[0])
    _, other = page_of(small(scores={"train": wrong}, sections=sections), tmp_path / "some")
    assert all(
        text in other.words for text in ("known label errors, train", "known errors", "known truth")
    )


def test_the_difference_of_an_arm_and_its_interval_stand_before_the_wide_columns(
    demo_html: str,
) -> None:
    heads = re.findall(
        r'<th scope="col"[^>]*>([^<]*)</th>',
        demo_html[demo_html.index("All arms on all evaluation sets") :],
    )
    assert heads[:5] == [
        "arm",
        "role",
        "measured on",
        "difference, points",
        "its 95 % interval, paired",
    ]


def test_rendering_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first, _ = page_of(small(), tmp_path / "one")
    second, _ = page_of(small(), tmp_path / "two")
    assert first == second


def test_a_hostile_name_is_shown_as_text_everywhere(tmp_path: Path) -> None:
    names = [NASTY, FORMULA, *SHAPES[2:]]
    arms, comparisons = make_arms()
    scores = {NASTY: make_scores("train", 300, 5, 0.2, 1).assign(key=NASTY)}
    report = demo(
        title=NASTY,
        experiment=NASTY,
        scale=NASTY,
        provenance=Provenance(NASTY, NASTY, NASTY, 1, 1, (0,), NASTY, NASTY),
        scores=scores,
        class_names=names,
        population=make_population().assign(arch=NASTY, classifier_id=NASTY),
        arms=arms.assign(arm=arms["arm"].replace("relabelled", NASTY)),
        comparisons=comparisons.assign(
            arm=comparisons["arm"].replace("relabelled", NASTY), note=NASTY, on=FORMULA
        ),
        detection=make_detection().assign(score=NASTY),
        verdicts=pd.DataFrame(
            {name: [FORMULA if name == "claim" else NASTY] for name in SCHEMA["verdicts"]}
        ).assign(p=0.5, p_holm=0.5),
        charts=(make_chart(title=NASTY, x_label=NASTY, y_label=NASTY, caption=NASTY),),
        pictures=None,
        timings={NASTY: 1.0},
        next_command=NASTY,
    )
    html, page = page_of(report, tmp_path)
    assert "<script" not in html
    assert page.open == []
    assert page.words.count(NASTY) > 20
    assert "script" not in {tag for tag, _ in page.tags}
    for path in (tmp_path / "figures").glob("*.csv"):
        for row in csv.reader(path.read_text(encoding="utf-8").splitlines()):
            assert not any(cell.startswith(("=", "@")) for cell in row), path.name


def test_the_hostile_name_would_be_seen_if_it_were_not_escaped() -> None:
    assert "script" in {tag for tag, _ in Page(f"<p>{NASTY[2:]}</p>").tags}


def test_a_name_with_brackets_inside_a_figure_keeps_its_quotes_and_ids() -> None:
    svg = '<svg xmlns="x"><g id="a"><text>id="b" url(#c) &gt;</text></g><use href="#a"/></svg>'
    inlined = str(inline_svg(svg, prefix="p", alt='say "hi"'))
    assert (
        inlined == '<svg role="img" aria-label="say &#34;hi&#34;"><g id="p-a"><text>id="b" url(#c)'
        ' &gt;</text></g><use href="#p-a"/></svg>'
    )


def test_what_is_absent_is_left_out_with_a_reason(tmp_path: Path) -> None:
    _, page = page_of(small(scores={}, population=make_population().iloc[:0]), tmp_path)
    # all but the summary, how to rerun, and what is of an audit
    assert f"Left out ({len(SECTIONS) - 4})" in page.words
    assert [a["id"] for tag, a in page.tags if tag == "h2"] == ["summary", "rerun", "left-out"]
    assert sum(tag == "li" for tag, _ in page.tags) == 3 + len(SECTIONS) - 4
    assert "Nothing was retrained in this experiment." in page.words


def test_empty_tables_are_like_absent_ones(tmp_path: Path) -> None:
    arms, comparisons = make_arms()
    report = small(
        scores={"train": make_scores("train", 40, 5, 0.1, 1).iloc[:0]},
        population=make_population().iloc[:0],
        arms=arms.iloc[:0],
        comparisons=comparisons.iloc[:0],
        detection=make_detection().iloc[:0],
        convergence=make_convergence().iloc[:0],
        verdicts=pd.DataFrame(),
    )
    _, page = page_of(report, tmp_path)
    assert [a["id"] for tag, a in page.tags if tag == "h2"] == ["summary", "rerun", "left-out"]


def test_the_page_says_how_many_labels_are_wrong_by_estimate(tmp_path: Path) -> None:
    """Where that was estimated: the sum of the probabilities, and what to expect of the suspects
    shown; elsewhere nothing."""
    report = small(sections=("suspects",))
    split = report.main_split
    assert split is not None
    assert "By estimate" not in page_of(report, tmp_path / "without")[0]
    scores = report.scores[split]
    told = scores.assign(p_wrong=0.25, expected_precision=0.5)
    html, _ = page_of(dataclasses.replace(report, scores={split: told}), tmp_path / "with")
    wrong = f"{0.25 * len(scores):,.0f}"
    assert f"By estimate {wrong} labels of the split are wrong; of the first" in html
    assert "about 50\u00a0%" in html


def test_no_suspects_one_seed_one_classifier_and_no_truth_are_told(tmp_path: Path) -> None:
    scores = make_scores("train", 40, 1, 0.0, 1)
    arms, comparisons = make_arms(seeds=(0,))
    report = small(
        scores={
            "train": scores.assign(
                top_confusion=scores["label"], x_perplexity=0.0, c_perplexity=1.0
            )
        },
        population=make_population().iloc[:1],
        arms=arms,
        comparisons=comparisons,
        convergence=make_convergence().iloc[:1],
    )
    _, page = page_of(report, tmp_path)
    assert "there is no suspect" in page.words
    assert "An arm with one seed has no interval" in page.words
    assert "1 classifier from 1 training of 1 architecture" in page.words
    assert "No label of these examples is known to be wrong" in page.words
    assert "nan" not in page.words.lower().split()


def test_of_a_thousand_classes_the_page_shows_the_twenty_worst_and_the_csv_all(
    tmp_path: Path,
) -> None:
    report = small(
        scores={"train": make_scores("train", 20_000, 10, 0.02, 1, n_classes=1000)},
        class_names=[f"class number {index}" for index in range(1000)],
        sections=("per_class",),
    )
    _, page = page_of(report, tmp_path)
    assert "The 20 worst of 1,000 classes" in page.words
    assert sum(tag == "tr" for tag, _ in page.tags) == 21
    assert len(pd.read_csv(tmp_path / "figures" / "per_class.csv")) == 1000


def test_only_the_sections_asked_for_appear_in_their_order(tmp_path: Path) -> None:
    _, page = page_of(small(sections=("rerun", "summary")), tmp_path)
    assert [a["id"] for tag, a in page.tags if tag == "h2"] == ["rerun", "summary"]


def study(**changes: Any) -> ReportData:
    """A report of a study that has charts and verdicts, and no scores."""
    return small(
        **{
            "scores": {},
            "provenance": dataclasses.replace(HERE, n_examples=0),
            "verdicts": make_verdicts(),
            "charts": (make_chart(), make_chart("figure-02", "Size")),
            **changes,
        }
    )


def test_a_study_shows_its_verdicts_then_its_charts_then_the_rest(tmp_path: Path) -> None:
    _, page = page_of(study(), tmp_path)
    assert [a["id"] for tag, a in page.tags if tag == "h2"] == [
        "summary",
        "verdicts",
        "charts",
        "population",
        "rerun",
        "left-out",
    ]
    words = page.words
    assert (
        words.index("Verdicts")
        < words.index("Figures of the study")
        < words.index("The population")
    )
    assert "15 classifiers from 3 trainings of 1 architecture on shapes with 10 classes." in words


def test_a_page_of_charts_and_verdicts_alone_counts_no_nothings(tmp_path: Path) -> None:
    bare = dataclasses.replace(HERE, n_classifiers=0, n_examples=0)
    _, page = page_of(study(population=make_population().iloc[:0], provenance=bare), tmp_path)
    assert [a["id"] for tag, a in page.tags if tag == "h2"] == [
        "summary",
        "verdicts",
        "charts",
        "rerun",
        "left-out",
    ]
    for noise in ("0 classifiers", "no examples", "N = 0", "E = 0", "nan", "None"):
        assert noise not in page.words


def test_every_chart_has_its_title_drawing_caption_and_files(tmp_path: Path) -> None:
    _, page = page_of(study(), tmp_path)
    assert sum(tag == "h3" for tag, _ in page.tags) == 2
    assert page.words.index("About Label noise. Experiment demo") < page.words.index(
        "About Size. Experiment demo"
    )
    assert [a["aria-label"] for tag, a in page.tags if tag == "svg"][:2] == [
        "Line chart: accuracy by noise. Label noise",
        "Line chart: accuracy by noise. Size",
    ]
    linked = [a["href"] for tag, a in page.tags if tag == "a" and "figure-0" in (a["href"] or "")]
    assert linked == [
        f"figures/figure-0{at}.{kind}" for at in (1, 2) for kind in ("csv", "svg", "png")
    ]
    assert all((tmp_path / str(address)).is_file() for address in linked)


def test_a_table_of_a_study_stands_between_its_charts_and_is_drawn_by_nobody(
    tmp_path: Path,
) -> None:
    """Cells as they are, its title and caption, its CSV; no SVG or PNG."""
    table = pd.DataFrame({"arm": ["kept", "<all>"], "acc1": ["50.1 (63.4)", ""]})
    sheet = Chart("numbers", "Ours beside theirs", "table", table, "", "", "In brackets theirs.")
    html, page = page_of(study(charts=(sheet, make_chart())), tmp_path)
    assert "Ours beside theirs. In brackets theirs." in page.words
    assert "50.1 (63.4)" in page.words
    assert "&lt;all&gt;" in html
    assert sorted(path.name for path in (tmp_path / "figures").glob("numbers.*")) == ["numbers.csv"]
    read = pd.read_csv(tmp_path / "figures/numbers.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(read, table, check_dtype=False)


@pytest.mark.parametrize("name", ["figure-01", "population", "verdicts"])
def test_two_figures_of_one_name_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=rf"cannot have a chart named '{name}'.*Names of charts must differ"
    ):
        render(study(charts=(make_chart(), make_chart(name))), tmp_path / "report.html")


def test_each_verdict_has_its_mark_and_is_counted(tmp_path: Path) -> None:
    html, page = page_of(study(), tmp_path)
    assert "4 claims: holds 1, fails 1, undecided 1, not tested 1." in page.words
    cells = re.findall(r'<td class="short (\w+)"[^>]*>([^<]*)</td>', html)
    assert [cell for cell in cells if cell[0] != "role"] == [
        ("good", "\u2713 holds"),
        ("bad", "\u2717 fails"),
        ("open", "? undecided"),
        ("untested", "\u25cb not tested"),
    ]


def test_rule_and_note_stand_under_their_claim_and_the_csv_has_every_column(tmp_path: Path) -> None:
    html, page = page_of(study(), tmp_path)
    table = html[html.index("Published claims") :]
    heads = re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', table[: table.index("<tbody>")])
    # what decides, before what is wide
    assert heads == ["claim", "verdict", "published", "measured", "statement", "scale"]
    words = page.words
    alone, among = "Evidence: p", "adjusted for the claims of its number"
    assert (
        f"laptop Rule: at least 3 points Note: all seeds agree {alone} 0.012, {among} 0.036. S1.02"
        in words
    )
    assert f"laptop Rule: at least 1 point {alone} 0.001, {among} 0.004. S1.03" in words
    assert "laptop Note: needs scale paper" in words
    read = pd.read_csv(tmp_path / "figures" / "verdicts.csv")
    pd.testing.assert_frame_equal(read, make_verdicts(), check_dtype=False)


def test_verdicts_of_other_columns_are_shown_as_they_are(tmp_path: Path) -> None:
    html, page = page_of(
        study(verdicts=pd.DataFrame({"what": ["noise"], "rule": ["none"], "verdict": ["perhaps"]})),
        tmp_path,
    )
    table = html[html.index("Published claims") : html.index("Figures of the study</h2>")]
    assert re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", table) == [
        "what",
        "rule",
        "verdict",
        "noise",
        "none",
        "perhaps",
    ]
    assert "1 claim: perhaps 1." in page.words


def test_an_unknown_section_lists_the_near_ones(tmp_path: Path) -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown report section 'suspect'\. Did you mean 'suspects'"
    ):
        render(small(sections=("suspect",)), tmp_path / "report.html")


def test_pictures_that_cannot_be_read_leave_a_table_and_that_is_said_once(tmp_path: Path) -> None:
    def broken(split: str, example_ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        raise DataError("the folder is gone")

    _, page = page_of(
        small(pictures=broken, sections=("summary", "xc_plane", "suspects")), tmp_path
    )
    assert page.words.count("No picture is shown: those of the data set cannot be read.") == 1
    assert page.words.lower().count("no picture") == 1
    assert "nopicture" not in page.words
    assert "details" not in {tag for tag, _ in page.tags}  # the table in place of the sheet is open
    assert not (tmp_path / "figures" / "contact_sheet.svg").exists()
    assert (tmp_path / "figures" / "contact_sheet.csv").exists()


def test_known_errors_are_counted_and_called_so(demo_html: str) -> None:
    scores = make_scores("train", 5000, 75, 0.05, 1)
    planted = int((scores["label"] != scores["label_true"]).sum())
    words = Page(demo_html).words
    assert f"known label errors, train ({planted / 50:.1f} %) {planted}" in words.replace(
        "\u00a0", " "
    ).replace(f"){planted}", f") {planted}")
    assert "known error" in words
    assert "planted label" not in words
    assert "not planted" not in words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3, "3.0 s"),
        (83, "1 min 23 s"),
        (59.99, "60.0 s"),
        (7500, "2 h 05 min"),
        (math.nan, "unknown"),
    ],
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


# ----------------------------------------------------------------------------------- of an audit

FACTS: dict[str, Any] = {
    "examples": 40,
    "classes": 10,
    "damaged": ["cat/torn.jpg"],
    "duplicates": 1,
    "conflicting": [["cat/a.jpg", "dog/b.jpg"]],
    "near_duplicates": 1,
    "near_conflicting": [],
    "classifiers": 5,
    "trained": "mlp on five folds",
    "heldout_least": 1,
    "not_held_out": 0,
    "wrong_labels": {
        "wrong": 6.2,
        "wrong_low": 3.1,
        "wrong_high": 9.4,
        "heldout_accuracy": 0.8,
        "chance": 0.1,
        "strength": "strong",
    },
    "no_count": "",
    "cuts": [{"first": 6, "expected_precision": 0.75}],
    "files": {
        "notes": ["cat/notes.txt: not an image file, left out"],
        "damaged": [{"key": "cat/torn.jpg", "reason": "damaged or truncated JPEG"}],
        "equal": [
            {
                "keys": ["cat/a.jpg", "dog/b.jpg"],
                "label_names": ["cat", "dog"],
                "conflicting": True,
            }
        ],
        "nearly": [
            {
                "keys": ["cat/c.jpg", "cat/d.jpg"],
                "label_names": ["cat", "cat"],
                "conflicting": False,
            }
        ],
    },
}


def audited(**changes: Any) -> ReportData:
    """An audit of 40 pictures of 30 x 20 pixels, of which number 0 cannot be read."""
    scores = make_scores("train", 40, 5, 0.1, 1)

    def previews(_split: str, ids: NDArray[np.int64]) -> dict[int, Preview]:
        image = encode_pixels(np.full((20, 30, 3), 99, dtype=np.uint8))
        return {i: Preview(30, 20, "image/png", image) for i in ids.tolist() if i}

    return small(
        **{
            "scores": {
                "train": scores.assign(
                    label_true=np.nan,
                    n_heldout=5,
                    x_heldout=scores["x_perplexity"],
                    c_heldout=scores["c_perplexity"],
                )
            },
            "provenance": dataclasses.replace(HERE, scale="ad-hoc", reproduces=False),
            "previews": previews,
            "audit": FACTS,
            **changes,
        }
    )


def test_a_page_of_an_audit_has_its_findings_first_and_nothing_of_studies(tmp_path: Path) -> None:
    _, page = page_of(audited(), tmp_path)
    assert [a["id"] for tag, a in page.tags if tag == "h2"] == [
        "findings",
        "suspects",
        "files",
        "per_class",
        "xc_plane",
        "perplexity",
        "population",
        "rerun",
    ]
    words = page.words
    for said in (
        "labels wrong by estimate (95 %: 3 to 9)6",
        "of the first 6 suspects to be wrong, by estimate75 %",
        "Held-out accuracy 0.800",
        "strong enough to trust the order",
        "each picture was held out by 1 or more of them; by none: 0",
    ):
        assert said.lower().replace(" ", "") in words.lower().replace(" ", "")
    for foreign in ("planted", "not the paper", "known error", "Left out (", "published claims"):
        assert foreign.lower() not in words.lower()


def test_the_plane_of_an_audit_is_of_held_out_classifiers(tmp_path: Path) -> None:
    """Its points are at the X that ranks the suspects. Twin: at X over all where none was held
    out."""
    scores = audited().scores["train"]
    scores = scores.assign(x_heldout=1 - scores["x_perplexity"])
    for folder, held, column in (("some", 5, "x_heldout"), ("none", 0, "x_perplexity")):
        table = scores.assign(n_heldout=held)
        _, page = page_of(audited(scores={"train": table}), tmp_path / folder)
        drawn = pd.read_csv(tmp_path / folder / "figures" / "xc_plane.csv")
        corners = drawn[drawn["kind"] == "corner"]
        x = table.set_index("example_id").loc[corners["example_id"].astype(int), column]
        assert len(corners)
        assert np.allclose(corners["x"], x)
        said = "over the classifiers that were not trained on it" in page.words
        assert said == (held > 0)


def test_a_label_that_was_learnt_by_heart_is_not_what_it_is_taken_for(tmp_path: Path) -> None:
    """Every held-out classifier names class 1 for pictures of class 0, most of all classifiers
    name the label: plane and classes show what the held-out ones say. Twin: right ones stay."""
    scores = audited().scores["train"]
    first = np.arange(len(scores)) < 20
    table = scores.assign(
        label=np.where(first, 0, 2),
        top_confusion=np.where(first, 0, 2),
        top5_x=[[{"class": 0 if a else 2}, {"class": 1}] for a in first],
        x_perplexity=np.where(first, 0.3, 0.0),
        x_heldout=np.where(first, 1.0, 0.0),
    )
    page_of(audited(scores={"train": table}), tmp_path)
    classes = pd.read_csv(tmp_path / "figures" / "per_class.csv").set_index("class")
    assert classes["mean_x"].to_dict() == {0: 1.0, 2: 0.0}
    assert classes["confused_n"].to_dict() == {0: 20, 2: 0}
    drawn = pd.read_csv(tmp_path / "figures" / "xc_plane.csv")
    corners = drawn[drawn["kind"] == "corner"]
    assert len(corners)
    assert ((corners["label_name"] != corners["top_name"]) == (corners["x"] == 1)).all()


def test_what_was_done_beside_an_audit_is_shown_too(tmp_path: Path) -> None:
    arms, comparisons = make_arms()
    _, page = page_of(audited(arms=arms, comparisons=comparisons), tmp_path)
    assert [a["id"] for tag, a in page.tags if tag == "h2"][-2:] == ["arms", "rerun"]


def test_files_that_are_damaged_or_there_twice_are_listed_with_their_labels(tmp_path: Path) -> None:
    """Twin: of an audit of predictions no file was read, and that is said."""
    html, _ = page_of(audited(), tmp_path / "files")
    section = html.partition('id="files"')[2].partition("</section>")[0]
    cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", section)
    for row in (
        ["cat/torn.jpg", "damaged or truncated JPEG"],
        ["cat/a.jpg = dog/b.jpg", "cat, dog", "labels differ"],
        ["cat/c.jpg = cat/d.jpg", "cat", "one label"],
    ):
        at = cells.index(row[0])
        assert cells[at : at + len(row)] == row
    assert "cat/notes.txt: not an image file, left out." in section
    bare = {**FACTS, "files": None, "damaged": None}
    _, page = page_of(audited(audit=bare), tmp_path / "none")
    assert "Files: No picture was read." in page.words


def test_each_suspect_is_a_picture_in_its_proportions_over_its_file_and_votes(
    tmp_path: Path,
) -> None:
    """The votes of those that held it out, which rank it. Twin: where nothing can be shown, the
    table is."""
    report = audited()
    html, page = page_of(report, tmp_path / "shown")
    shots = [attrs for tag, attrs in page.tags if tag == "img"]
    listed = re.findall(r"<li>(<(?:img|div) .*?)</li>", html, flags=re.S)
    table = pd.read_csv(tmp_path / "shown" / "figures" / "contact_sheet.csv")
    assert len(listed) == len(table) > 3
    assert len(shots) == len(table) - (table["example_id"] == 0).sum()
    assert {(shot["width"], shot["height"]) for shot in shots} == {("30", "20")}
    assert all(str(shot["src"]).startswith("data:image/png;base64,") for shot in shots)
    for number, (text, row) in enumerate(zip(listed, table.itertuples(), strict=True), start=1):
        assert f"{number}. {row.key.replace('/', '/<wbr>')}</span>" in text
        assert f"{round(row.x * 5)} of 5 held out</span>" in text
        suggested = row.top_name if isinstance(row.top_name, str) else "?"
        assert f"{row.label_name} \u2192 {suggested}</span>" in text
    _, without = page_of(audited(previews=None), tmp_path / "none")
    assert not [tag for tag, _ in without.tags if tag == "img"]
    assert "No picture is shown" in without.words


def test_a_picture_that_cannot_be_read_keeps_its_place(tmp_path: Path) -> None:
    html, page = page_of(audited(previews=lambda _split, ids: dict.fromkeys([])), tmp_path / "none")
    assert "No picture is shown" in page.words
    first = int(pd.read_csv(tmp_path / "none" / "figures" / "contact_sheet.csv")["example_id"][0])
    whole = audited().previews
    assert whole is not None

    def all_but_the_first(split: str, ids: NDArray[np.int64]) -> dict[int, Preview]:
        return {i: seen for i, seen in whole(split, ids).items() if i != first}

    html, _ = page_of(audited(previews=all_but_the_first), tmp_path / "some")
    listed = re.findall(r"<li>(<(?:img|div) .*?)</li>", html, flags=re.S)
    assert '<div class="shot">cannot be read</div>' in listed[0]
    assert "<img " in listed[1]


def test_the_page_fits_a_narrow_window(tmp_path: Path) -> None:
    """Columns of pictures are as many as there is room for, none wider than the window; a picture
    is scaled whole; every table and drawing lies in a box that scrolls by itself."""
    html, _ = page_of(audited(), tmp_path)
    css = html.partition("<style>")[2].partition("</style>")[0]
    rules = dict(re.findall(r"^(\.gallery[^{]*?) \{ ([^}]*)", css, flags=re.M))
    columns = "repeat(auto-fill, minmax(min(150px, 100%), 1fr))"
    assert f"grid-template-columns: {columns};" in rules[".gallery"]
    assert "width: 100%; height: 180px; object-fit: contain;" in rules[".gallery .shot"]
    assert "overflow-wrap: anywhere" in rules[".gallery span"]
    wide = re.findall(r"^([^{\n]*)\{[^}]*(?:min-)?width: (?:[4-9]\d\d|\d{4})px", css, flags=re.M)
    # the sheet's greatest width, and drawings within their scrolling card
    assert {name.strip() for name in wide} == {".page", ".card svg"}
    assert ".card { background: #ffffff;" in css
    assert re.search(r"\.card \{[^}]*overflow-x: auto", css)
    assert html.count("<table") == len(re.findall(r'<div class="scroll"[^>]*>\s*<table', html))
