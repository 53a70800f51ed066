"""Figures: tidy tables worked by hand, and files that hold exactly what was drawn."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from zoo.errors import UnknownNameError, UsageError
from zoo.report import draw, figures, tidy
from zoo.report.draw import Provenance
from zoo.report.figures import FIGURES
from zoo.scores.suspects import planted_errors, suspects
from zoo.store.results import csv_text

NASTY = '"><script>alert(1)</script>'
FORMULA = '=HYPERLINK("#","x")'
CLASSES = ("cat", NASTY, FORMULA)
HERE = Provenance("demo", "laptop", "shapes", 4, 6, (0, 1, 2), "0.1.0", "abc1234", reproduces=True)


def six_scores() -> pd.DataFrame:
    """Six examples scored by N = 4; example 12 carries a planted error, the truth of example 15 is
    not known."""
    return pd.DataFrame(
        {
            "split": "train",
            "example_id": [10, 11, 12, 13, 14, 15],
            "key": ["a.png", "b.png", "+c.png", "d.png", "e.png", "f.png"],
            "label": [0, 0, 1, 1, 2, 2],
            "label_true": [0, 0, 0, 1, 2, np.nan],
            "n": 4,
            "x_perplexity": [0.0, 0.25, 1.0, 0.25, 0.75, 0.5],
            "c_perplexity": [1.0, 1.5, 1.0, 2.0, 3.0, 2.0],
            "label_quality": [0.99, 0.8, 0.01, 0.7, 0.2, 0.4],
            "top_confusion": [0, 0, 0, 1, 0, 0],
            "top_confusion_share": [1.0, 0.75, 1.0, 0.75, 0.5, 0.5],
        }
    )


def comparisons(n_seeds: int = 3) -> pd.DataFrame:
    half = 0.01 if n_seeds > 1 else np.nan
    return pd.DataFrame(
        {
            "arm": ["baseline", "cleaned", "random", "truth"],
            "on": "full",
            "metric": "acc1",
            "mean": [0.8, 0.82, 0.79, 0.85],
            "low": np.array([0.8, 0.82, 0.79, 0.85]) - half,
            "high": np.array([0.8, 0.82, 0.79, 0.85]) + half,
            "n_seeds": n_seeds,
            "delta": [np.nan, 0.02, -0.01, 0.05],
            "delta_low": [np.nan, 0.02 - half, -0.01 - half, 0.05 - half],
            "delta_high": [np.nan, 0.02 + half, -0.01 + half, 0.05 + half],
            "note": [None, "", "control: random removal", "oracle: true labels"],
        }
    )


def population() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "classifier_id": ["a", "b", "c"],
            "training_id": ["t", "t", "u"],
            "arch": ["mlp", "mlp", "lenet5"],
            "fraction": [0.25, 0.25, None],
            "replica": [1, 2, 1],
            "seed": 0,
            "epoch": [5, 5, 5],
            "train_acc1": [0.9, 0.8, 1.0],
            "test_acc1": [0.7, 0.8, 0.9],
            "test_acc5": [0.9, 0.9, 1.0],
        }
    )


def detection() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "score": ["c", NASTY],
            "auroc": [0.6, 0.95],
            "average_precision": [0.1, 0.8],
            "precision_at_n": [0.1, 0.7],
            "recall_at_n": [0.1, 0.7],
            "n_errors": 3,
        }
    )


def convergence() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "measure": ["c", "x", "x"],
            "n": [4, 4, 1],
            "mean": [1.0, 1.0, 0.5],
            "low": [1.0, 1.0, 0.3],
            "high": [1.0, 1.0, 0.7],
        }
    )


def tables() -> dict[str, pd.DataFrame]:
    """A small table for every figure."""
    scores = six_scores()
    return {
        "perplexity_histograms": tidy.tabulate_perplexity_histograms({"train": scores}),
        "xc_plane": tidy.tabulate_xc_plane(scores, CLASSES),
        "contact_sheet": tidy.tabulate_contact_sheet(scores, CLASSES),
        "per_class": tidy.tabulate_per_class(scores, CLASSES),
        "arm_accuracy": tidy.tabulate_arm_accuracy(comparisons()),
        "convergence": tidy.tabulate_convergence(convergence()),
        "population": tidy.tabulate_population(population()),
        "detection": tidy.tabulate_detection(detection(), 30),
    }


PICTURES = {12: np.full((8, 8, 1), 200, np.uint8), 14: np.zeros((300, 200, 3), np.uint8)}


def test_every_figure_has_a_small_table_here() -> None:
    assert set(tables()) == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_a_tabulator_gives_exactly_the_columns_its_figure_declares(name: str) -> None:
    assert tuple(tables()[name].columns) == (*FIGURES[name].columns, *tidy.KNOWN.get(name, ()))


@pytest.mark.parametrize("name", FIGURES)
def test_equal_tables_give_equal_bytes_and_another_table_other_bytes(
    name: str, tmp_path: Path
) -> None:
    table = tables()[name]
    one, two = (
        figures.save(name, table, tmp_path / folder, HERE, pictures=PICTURES)
        for folder in ("one", "two")
    )
    other = figures.save(name, table.iloc[:-1], tmp_path / "other", HERE, pictures=PICTURES)
    for kind in ("svg", "png", "csv"):
        assert getattr(one, kind).read_bytes() == getattr(two, kind).read_bytes()
    assert one.csv.read_bytes() != other.csv.read_bytes()


@pytest.mark.parametrize("name", FIGURES)
def test_the_csv_is_the_table_drawn(name: str, tmp_path: Path) -> None:
    table = tables()[name]
    files = figures.save(name, table, tmp_path, HERE, pictures=PICTURES)
    text = files.csv.read_bytes().decode()
    assert "\r" not in text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == len(table)
    for column in table.columns:
        for row, value in zip(rows, table[column], strict=True):
            if pd.isna(value):
                assert row[column] == ""
            elif isinstance(value, str):
                assert row[column].removeprefix("'") == value
            elif isinstance(value, bool | np.bool_):
                assert row[column] == str(bool(value))
            else:
                assert float(row[column]) == pytest.approx(float(value), rel=1e-9)


@pytest.mark.parametrize("name", FIGURES)
def test_an_empty_table_draws_a_figure_that_says_so(name: str, tmp_path: Path) -> None:
    files = figures.save(name, tables()[name].iloc[:0], tmp_path, HERE)
    assert "the table has no rows" in files.svg.read_text()


@pytest.mark.parametrize("name", FIGURES)
def test_a_table_without_a_needed_column_is_refused_with_the_tabulator_named(name: str) -> None:
    column = FIGURES[name].columns[0]
    with pytest.raises(
        UsageError, match=rf"lacks {column}\. It needs .* Make the table with tabulate_{name}\."
    ):
        figures.draw(name, tables()[name].drop(columns=column))


@pytest.mark.parametrize("name", FIGURES)
def test_every_caption_says_where_the_numbers_come_from(name: str, tmp_path: Path) -> None:
    caption = figures.save(name, tables()[name], tmp_path, HERE).caption
    for fact in (
        "N = 4 classifiers",
        "E = 6 examples",
        "seeds 0-2",
        "scale laptop (not the paper's)",
        "zoo 0.1.0",
        "commit abc1234",
        "shapes",
    ):
        assert fact in caption


@pytest.mark.parametrize("name", FIGURES)
def test_an_svg_is_well_formed_and_markup_in_a_name_stays_text(name: str, tmp_path: Path) -> None:
    files = figures.save(name, tables()[name], tmp_path, HERE, pictures=PICTURES)
    tags = {element.tag.rsplit("}", 1)[-1] for element in ElementTree.parse(files.svg).iter()}
    assert "script" not in tags
    assert "svg" in tags


def test_answers_in_bf16_are_said() -> None:
    """Of all classifiers, or how many of them; nothing where all answered in float32."""
    of = Provenance("p", "laptop", "d", 3000, 6, (0,), "1", "")
    assert "; N = 3,000 classifiers, E = 6 examples; " in of.text
    assert "N = 3,000 classifiers (answering in bf16), E" in replace(of, n_in_bf16=3000).text
    some = replace(of, n_in_bf16=1200).text
    assert "N = 3,000 classifiers (1,200 answering in bf16), E" in some


def test_the_paper_scale_is_not_marked() -> None:
    """Nor is any scale of what reproduces no paper; what was made step by step has no scale to
    say."""
    assert (
        "not the paper's"
        not in Provenance("p", "paper", "d", 1, 1, (), "1", "", reproduces=True).text
    )
    assert "not the paper's" not in Provenance("p", "laptop", "d", 1, 1, (), "1", "").text
    assert Provenance("train", "ad-hoc", "d", 1, 1, (), "1", "").text.startswith(
        "Made step by step; data d;"
    )
    assert Provenance("audit", "ad-hoc", "d", 1, 1, (), "1", "").text.startswith(
        "Made by zoo audit; data d;"
    )


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        ((), "seed unknown"),
        ((3,), "seed 3"),
        ((2, 0, 1), "seeds 0-2"),
        ((0, 2), "seeds 0, 2"),
        ((0, 1), "seeds 0, 1"),
    ],
)
def test_seeds_are_told_shortly(seeds: tuple[int, ...], text: str) -> None:
    assert draw.seeds_text(seeds) == text


def test_histograms_have_ten_equal_bins_of_x_and_c_with_shares_that_sum_to_one() -> None:
    table = tidy.tabulate_perplexity_histograms({"train": six_scores()})
    x, c = table[table["measure"] == "x"], table[table["measure"] == "c"]
    assert x["n"].tolist() == [1, 0, 2, 0, 0, 1, 0, 1, 0, 1]
    assert c["n"].tolist() == [2, 0, 1, 0, 0, 2, 0, 0, 0, 1]
    assert c["low"].iloc[0] == 1.0
    assert c["high"].iloc[-1] == 3.0
    for part in (x, c):
        assert part["share"].sum() == pytest.approx(1)
        assert (part["density"] * (part["high"] - part["low"])).sum() == pytest.approx(1)


def test_histograms_leave_out_examples_without_a_score() -> None:
    scores = six_scores()
    scores.loc[0, "x_perplexity"] = np.nan
    assert tidy.tabulate_perplexity_histograms({"train": scores}).groupby("measure")[
        "n"
    ].sum().to_dict() == {"c": 6, "x": 5}


def test_a_planted_error_is_a_known_true_label_that_differs() -> None:
    planted = planted_errors(six_scores())
    assert planted is not None
    assert planted.tolist() == [False, False, True, False, False, False]
    assert planted_errors(six_scores().assign(label_true=np.nan)) is None
    assert (
        planted_errors(six_scores().assign(label_true=pd.array([pd.NA] * 6, dtype="Int64"))) is None
    )


def test_the_plane_counts_every_example_once_and_names_the_corner_examples() -> None:
    table = tidy.tabulate_xc_plane(six_scores(), CLASSES)
    assert table.loc[table["kind"] == "density", "n"].sum() == 6
    corners = table[table["kind"] == "corner"].set_index("corner")
    assert corners["example_id"].to_dict() == {
        "mislabelled-looking": 12,
        "hard": 14,
        "easy": 10,
        "ambiguous": 13,
    }
    planted = table[table["kind"] == "known_error"]
    assert planted["example_id"].tolist() == [12]
    assert planted["label_name"].tolist() == [NASTY]
    assert planted["top_name"].tolist() == ["cat"]


def test_many_planted_errors_are_thinned_and_their_number_is_kept() -> None:
    many = pd.concat([six_scores().iloc[[2]]] * 7000, ignore_index=True)
    planted = tidy.tabulate_xc_plane(many, CLASSES).query("kind == 'known_error'")
    assert len(planted) <= 1000
    assert set(planted["n"]) == {7000}


def test_suspects_are_listed_in_the_one_order() -> None:
    """The contact sheet lists what ``suspects`` lists, in its order, with what ranked them."""
    table = tidy.tabulate_contact_sheet(six_scores(), CLASSES)
    listed = suspects(six_scores(), 40)
    assert table["example_id"].tolist() == listed["example_id"].tolist()
    assert table["example_id"].tolist()[:3] == [12, 14, 15]
    assert table["x"].tolist() == listed["ranked_x"].tolist()
    assert table["known_error"].tolist()[:2] == [True, False]
    assert pd.isna(table["known_error"].iloc[2])


def test_no_suspects_is_an_empty_table() -> None:
    assert tidy.tabulate_contact_sheet(six_scores().assign(x_perplexity=0.0), CLASSES).empty


def test_classes_come_worst_first_with_what_they_are_taken_for() -> None:
    table = tidy.tabulate_per_class(six_scores(), CLASSES)
    # Mean X by hand: class 1 (1 + 0.25) / 2, class 2 (0.75 + 0.5) / 2, class 0 (0 + 0.25) / 2; the
    #     tie goes to the lower class.
    assert table["class"].tolist() == [1, 2, 0]
    assert table["mean_x"].tolist() == [0.625, 0.625, 0.125]
    assert table["confused_with"].tolist() == ["cat", "cat", ""]
    assert table["confused_n"].tolist() == [1, 2, 0]
    assert table["n_known_errors"].tolist() == [1, 0, 0]
    assert table["known_error_share"].tolist() == [0.5, 0, 0]


@pytest.mark.parametrize("truth", ["unknown", "right"])
@pytest.mark.parametrize("name", tidy.KNOWN)
def test_where_no_label_is_known_to_be_wrong_no_column_row_or_word_is_about_known_errors(
    name: str, truth: str, tmp_path: Path
) -> None:
    """Nor is anything called planted anywhere; the tables of
    ``test_a_tabulator_gives_exactly_the_columns_its_figure_declares`` have them."""
    scores = six_scores()
    scores = scores.assign(label_true=np.nan if truth == "unknown" else scores["label"])
    table = getattr(tidy, f"tabulate_{name}")(scores, CLASSES)
    assert tuple(table.columns) == FIGURES[name].columns
    files = figures.save(name, table, tmp_path, HERE, pictures=PICTURES)
    for text in (files.csv.read_text(), files.svg.read_text(), files.caption):
        assert not re.search("planted|known_error|known error|label error|label right", text)


def test_seeds_of_an_arm_are_paired_with_the_same_seed_of_the_baseline() -> None:
    arms = pd.DataFrame(
        {
            "arm": ["baseline", "baseline", "cleaned", "cleaned"],
            "seed": [0, 1, 1, 7],
            "acc1": [0.80, 0.82, 0.85, 0.9],
        }
    )
    table = tidy.tabulate_arm_accuracy(comparisons(), arms)
    single = table[table["seed"].notna() & (table["arm"] == "cleaned")].set_index("seed")
    assert single.loc[1, "delta"] == pytest.approx(0.03)
    assert np.isnan(float(single["delta"].loc[7]))
    assert table["seed"].isna().sum() == 4


def test_one_seed_has_a_point_and_says_that_there_is_no_interval(tmp_path: Path) -> None:
    files = figures.save("arm_accuracy", tidy.tabulate_arm_accuracy(comparisons(1)), tmp_path, HERE)
    assert "1 seed: no interval" in files.svg.read_text()


@pytest.mark.parametrize("n_seeds", [1, 3])
@pytest.mark.parametrize(
    "longest", ["cleaned", "suspects-relabelled-to-their-top-confusion (resnet8)"]
)
def test_titles_and_labels_of_six_arms_do_not_touch(n_seeds: int, longest: str) -> None:
    three = comparisons(n_seeds)
    six = pd.concat(
        [three, three.iloc[1:3].assign(arm=["random-like-by-class", "hardest-half"])],
        ignore_index=True,
    )
    named = six.replace({"arm": {"baseline": "baseline-of-the-second-group", "cleaned": longest}})
    figure = figures.draw("arm_accuracy", tidy.tabulate_arm_accuracy(named))
    FigureCanvasAgg(figure).draw()
    left, right = figure.axes
    words = [
        *left.get_yticklabels(),
        *(text for ax in (left, right) for text in (ax._left_title, ax.xaxis.label)),
    ]  # type: ignore[attr-defined]
    boxes = [text.get_window_extent() for text in words]
    assert len(boxes) == 10
    assert not [
        (one, two) for at, one in enumerate(boxes) for two in boxes[:at] if one.overlaps(two)
    ]
    assert all(
        box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1 for box in boxes
    )


def test_oracle_and_control_arms_are_told_in_words(tmp_path: Path) -> None:
    text = figures.save(
        "arm_accuracy", tidy.tabulate_arm_accuracy(comparisons()), tmp_path, HERE
    ).svg.read_text()
    assert "random (control)" in text
    assert "truth (oracle)" in text


def test_an_arm_that_is_called_what_it_is_says_it_once(tmp_path: Path) -> None:
    named = comparisons().replace({"arm": {"truth": "oracle"}})
    text = figures.save(
        "arm_accuracy", tidy.tabulate_arm_accuracy(named), tmp_path, HERE
    ).svg.read_text()
    assert "oracle" in text
    assert "oracle (oracle)" not in text


def test_arms_of_several_networks_are_told_apart_and_paired_within_each() -> None:
    """The same arms and seeds of mlp and lenet5: each seed's difference is to the baseline of its
    own network."""
    both = pd.concat([comparisons().assign(arch=arch, arm_group="g") for arch in ("mlp", "lenet5")])
    arms = pd.DataFrame(
        {
            "arm_group": "g",
            "arm": ["baseline", "cleaned"] * 2,
            "arch": ["mlp", "mlp", "lenet5", "lenet5"],
            "seed": 0,
            "acc1": [0.80, 0.83, 0.70, 0.75],
        }
    )
    table = tidy.tabulate_arm_accuracy(both, arms)
    assert table.loc[table["seed"].isna(), "arm"].tolist()[:2] == [
        "baseline (mlp)",
        "cleaned (mlp)",
    ]
    single = table[table["seed"].notna()].set_index("arm")["delta"]
    assert single["cleaned (mlp)"] == pytest.approx(0.03)
    assert single["cleaned (lenet5)"] == pytest.approx(0.05)
    assert tidy.baselines(both)["cleaned (lenet5)"] == "baseline (lenet5)"
    figures.draw("arm_accuracy", table)


def test_auroc_has_an_axis_of_its_own() -> None:
    """Rank correlation and AUROC are different quantities: two axes, each named for what it shows;
    without truth there is one."""
    found = pd.DataFrame(
        {"measure": "auroc", "n": [1, 4], "mean": [0.7, 0.9], "low": [0.6, 0.9], "high": [0.8, 0.9]}
    )
    figure = figures.draw(
        "convergence", tidy.tabulate_convergence(pd.concat([convergence(), found]))
    )
    ranks, detection = figure.axes
    assert ranks.get_ylabel().startswith("rank correlation (Spearman)")
    assert detection.get_ylabel().startswith("AUROC of label_quality")
    assert {
        line.get_label().partition(":")[0]
        for line in detection.get_lines()
        if not line.get_label().startswith("_")
    } == {"label_quality"}
    assert "label_quality" not in " ".join(str(line.get_label()) for line in ranks.get_lines())
    assert len(figures.draw("convergence", tidy.tabulate_convergence(convergence())).axes) == 1


def test_a_classifier_of_unknown_fraction_counts_as_trained_on_all() -> None:
    table = tidy.tabulate_population(population())
    assert table["arch"].tolist() == ["lenet5", "mlp"]
    assert table["fraction"].tolist() == [1.0, 0.25]
    assert table["n"].tolist() == [1, 2]
    assert table["test_acc1"].tolist() == pytest.approx([0.9, 0.75])
    assert table["test_low"].tolist() == [0.9, 0.7]


def test_detection_knows_the_precision_of_a_random_order() -> None:
    assert tidy.tabulate_detection(detection(), 30)["chance"].tolist() == pytest.approx([0.1, 0.1])
    assert tidy.tabulate_detection(detection())["chance"].isna().all()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_text_that_a_spreadsheet_would_run_gets_a_quote_and_a_number_does_not(start: str) -> None:
    table = pd.DataFrame({"name": [f"{start}1+1", "plain", None], "value": [-1.5, 2.0, np.nan]})
    rows = list(csv.reader(io.StringIO(csv_text(table, "%.10g"), newline="")))
    shown = start.replace("\r", "\n")
    assert rows == [["name", "value"], [f"'{shown}1+1", "-1.5"], ["plain", "2"], ["", ""]]


def test_a_carriage_return_inside_a_text_cannot_start_a_row_of_its_own() -> None:
    assert csv_text(pd.DataFrame({"name": ["a\r=1+1"]})) == 'name\n"a\n=1+1"\n'


def test_categories_and_nullable_types_keep_their_values_in_csv() -> None:
    table = pd.DataFrame(
        {
            "kind": pd.Categorical(["=a", "b"]),
            "known": pd.array([True, pd.NA], dtype="boolean"),
            "n": pd.array([1, pd.NA], dtype="Int64"),
            "x": [0.1, 1 / 3],
        }
    )
    assert csv_text(table, "%.10g") == "kind,known,n,x\n'=a,True,1,0.1\nb,,,0.3333333333\n"


def test_control_characters_and_formulas_in_names_neither_break_the_svg_nor_start_mathtext(
    tmp_path: Path,
) -> None:
    names = ("\x00bad\x1b", "$x_{", "\u732b" * 200)
    files = figures.save("per_class", tidy.tabulate_per_class(six_scores(), names), tmp_path, HERE)
    text = "".join(ElementTree.parse(files.svg).getroot().itertext())
    assert "\ufffdbad\ufffd" in text
    assert "$x_{" in text


def test_a_stem_that_is_no_plain_file_name_is_refused_with_one_that_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Try 'up'"):
        figures.save("convergence", tables()["convergence"], tmp_path, HERE, stem="../up")


def test_an_unknown_figure_lists_the_near_names() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'xc_plane'"):
        figures.draw("xc_plan", pd.DataFrame())


def test_a_failed_write_leaves_the_old_file_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = draw.write_atomically(tmp_path / "a.txt", b"old")

    def broken(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        draw.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_large_picture_becomes_the_mean_of_its_blocks() -> None:
    picture = np.zeros((400, 200, 3), np.uint8)
    picture[:5, :5] = 250
    small = draw._thumbnail(picture)
    assert small.shape == (80, 40, 3)
    assert small[0, 0].tolist() == [250, 250, 250]
    assert small.sum() == 750


def test_figures_never_load_pyplot() -> None:
    code = (
        "import sys, zoo.report.figures, zoo.report.page; sys.exit('matplotlib.pyplot' in"
        " sys.modules or 'torch' in sys.modules)"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]
        ).returncode
        == 0
    )
