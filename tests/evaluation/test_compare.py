import csv
import dataclasses
import json
import tracemalloc

import numpy as np
import pytest

from keras_wsol.evaluation import Comparison, Report, compare
from keras_wsol.evaluation.report import difference_interval
from tests.evaluation.drawn_report import image_table
from tests.reference import paired_bootstrap_numpy

COUNT = 90


def measured(model, class_right, box_right, v2=None, **changes):
    """A report on 90 images, at one threshold."""
    v2 = np.zeros((COUNT, 3), bool) if v2 is None else v2
    class_ids = np.arange(COUNT, dtype="int32") % 7
    right = np.where(class_right, "right", "wrong class")
    images = image_table(
        np.where(box_right, 0.5, 0.4999)[:, None],
        np.where(class_right, 0, 1),
        v2=v2[..., None],
        class_ids=class_ids,
        predicted_ids=np.where(class_right, class_ids, -1),
        errors=np.where(box_right, right, "too small"),
    )
    values = {"dataset": "cub200", "split": "test", "view": "whole"}
    values |= {"model": model, "images": images, "tuned_index": 0}
    return Report(**(values | changes))


def drawn(seed, class_share=0.7, box_share=0.6):
    rng = np.random.default_rng(seed)
    return rng.random(COUNT) < class_share, rng.random(COUNT) < box_share


def hits(class_right, box_right):
    return {
        "top1_cls": class_right,
        "gt_known_loc": box_right,
        "top1_loc": class_right & box_right,
    }


def by_name(comparison):
    return {(each.method, each.measure): each for each in comparison.differences}


def test_differences_and_intervals_of_two_reports():
    one, other = drawn(0), drawn(1, class_share=0.9, box_share=0.45)
    found = compare([measured("cam", *one), measured("adl", *other)])
    assert found.methods == ("cam", "adl")
    assert (found.dataset, found.split, found.view) == ("cub200", "test", "whole")
    assert found.num_images == COUNT
    for name, theirs in hits(*one).items():
        mine = hits(*other)[name]
        each = by_name(found)["adl", name]
        assert each.share == pytest.approx(mine.mean())
        assert each.difference == pytest.approx(mine.mean() - theirs.mean())
        expected = paired_bootstrap_numpy.intervals([mine], [theirs])
        # Two of 90 images: quantiles of few draws.
        assert each.interval == pytest.approx(expected, abs=2.1 / 90)
        assert each.num_runs == 1
        low, high = each.interval
        assert each.excludes_zero == (low > 0 or high < 0)
    assert by_name(found)["adl", "top1_cls"].excludes_zero
    first = [each for each in found.differences if each.method == "cam"]
    assert {(x.difference, x.interval, x.excludes_zero) for x in first} == {
        (0.0, (0.0, 0.0), False)
    }


def with_v2(model, seed, share):
    v2 = np.random.default_rng(seed).random((COUNT, 3)) < share
    return measured(model, *drawn(seed), v2), v2.mean(axis=1)


def test_max_box_acc_v2_is_compared_image_by_image():
    (one, theirs), (other, mine) = with_v2("a", 0, 0.6), with_v2("b", 1, 0.75)
    found = compare([one, other])
    each = by_name(found)["b", "max_box_acc_v2"]
    assert each.share == pytest.approx(mine.mean())
    assert each.difference == pytest.approx(mine.mean() - theirs.mean())
    rng = np.random.default_rng(5)
    draws = rng.integers(0, COUNT, (20_000, COUNT))
    expected = np.quantile((mine - theirs)[draws].mean(axis=1), [0.025, 0.975])
    assert each.interval == pytest.approx(tuple(expected), abs=0.01)
    assert each.excludes_zero == (each.interval[0] > 0)
    lines = found.to_markdown().splitlines()
    assert lines[2].endswith("| MaxBoxAccV2 | difference |")
    assert "thresholds held fixed" in lines[-1]


def test_pairing_makes_it_sharp():
    # 7 of 90 images more, none less: as shares with an interval each, that is noise.
    class_right, box_right = drawn(0)
    better = box_right.copy()
    better[np.flatnonzero(~box_right)[5:12]] = True
    found = compare(
        [measured("a", class_right, box_right), measured("b", class_right, better)]
    )
    each = by_name(found)["b", "gt_known_loc"]
    assert each.excludes_zero
    unpaired = np.sqrt(2 * 0.24 / COUNT)
    assert each.difference < 1.5 * unpaired
    assert by_name(found)["b", "top1_cls"].interval == (0, 0)


def test_several_runs_of_a_method():
    plain = [drawn(seed) for seed in (0, 1, 2)]
    # Right on the same images, but for one run that broke.
    shaky = [drawn(9, box_share=0.7), drawn(9, box_share=0.7), drawn(9, box_share=0.2)]
    found = compare(
        {
            "plain": [measured("x", *run) for run in plain],
            "shaky": [measured("y", *run) for run in shaky],
            "one": measured("z", *plain[1]),
        }
    )
    assert found.methods == ("plain", "shaky", "one")
    theirs = [hits(*run)["gt_known_loc"] for run in plain]
    mine = [hits(*run)["gt_known_loc"] for run in shaky]
    each = by_name(found)["shaky", "gt_known_loc"]
    assert each.num_runs == 3
    assert each.share == pytest.approx(np.mean(mine))
    assert each.difference == pytest.approx(np.mean(mine) - np.mean(theirs))
    expected = paired_bootstrap_numpy.intervals(mine, theirs)
    assert each.interval == pytest.approx(expected, abs=2.1 / 90)
    # Without drawing runs, it would be half as wide.
    alone = difference_interval(np.mean(mine, 0)[None] > 0.5, theirs[0][None], 2000, 0)
    assert each.interval[1] - each.interval[0] > 1.5 * (alone[1] - alone[0])
    expected = paired_bootstrap_numpy.intervals([theirs[1]], theirs)
    interval = by_name(found)["one", "gt_known_loc"].interval
    assert interval == pytest.approx(expected, abs=2.1 / 90)


def test_the_variance_over_runs_is_that_of_their_mean():
    # Runs that are right everywhere or nowhere: images say nothing, runs all.
    hits = np.array([[1, 1, 1, 0, 0]], bool).T.repeat(30, axis=1)
    low, high = difference_interval(hits, np.zeros((1, 30), bool), 40_000, 0)
    # Mean of four draws of 3/5: quantiles of the binomial.
    shares = np.random.default_rng(1).binomial(4, 0.6, 100_000) / 4
    assert (low, high) == tuple(np.quantile(shares, [0.025, 0.975]))


def test_about_one_in_twenty_equal_methods_gets_a_star():
    stars = 0
    for seed in range(300):
        one, other = np.random.default_rng(seed).random((2, 1, 200)) < 0.6
        low, high = difference_interval(one, other, 400, seed)
        stars += low > 0 or high < 0
    assert 5 <= stars <= 28  # 15 and three and a half standard deviations


def test_draws_do_not_depend_on_the_other_methods():
    reports = [measured(str(seed), *drawn(seed)) for seed in range(3)]
    alone, among = compare(reports[::2]), compare(reports)
    assert alone.differences[-4:] == among.differences[-4:]
    assert compare(reports, seed=1).differences != among.differences


def test_the_same_name_twice_is_told_apart():
    reports = [measured("cam", *drawn(seed)) for seed in range(3)]
    assert compare(reports).methods == ("cam", "cam (2)", "cam (3)")


def test_data_may_have_been_moved():
    one, other = (measured(name, *drawn(0)) for name in "ab")
    paths = ["D:\\cub\\" + x.replace("/", "\\") for x in other.images.paths]
    moved = dataclasses.replace(other.images, paths=np.array(paths))
    compare([one, dataclasses.replace(other, images=moved)])


# Its tables


def example():
    class_right, box_right = drawn(0)
    better = box_right.copy()
    better[np.flatnonzero(~box_right)[:9]] = True
    return compare(
        [measured("cam", class_right, box_right), measured("a|b", class_right, better)]
    )


def test_markdown():
    class_right, box_right = drawn(0)
    shares = {name: 100 * x.mean() for name, x in hits(class_right, box_right).items()}
    lines = example().to_markdown().splitlines()
    assert lines[0] == "cub200, test, view whole, 90 images"
    assert lines[2] == (
        "|  | runs | Top-1 Cls | difference | GT-known Loc | difference | Top-1 Loc "
        "| difference | MaxBoxAccV2 | difference |"
    )
    assert (
        lines[4]
        == "| cam | 1 | "
        + " | ".join(f"{share:.1f} | -" for share in shares.values())
        + " | 0.0 | - |"
    )
    each = by_name(example())["a|b", "gt_known_loc"]
    low, high = (100 * value for value in each.interval)
    cells = lines[5].split(" | ")
    assert cells[:2] == [r"| a\|b", "1"]
    assert cells[3] == "+0.0 (+0.0 to +0.0)"
    assert cells[5] == f"{100 * each.difference:+.1f} ({low:+.1f} to {high:+.1f}) \\*"
    assert lines[-1].startswith("Differences from cam in points")
    assert "may be noise" in lines[-1]


def test_csv_and_dictionary(tmp_path):
    comparison = example()
    text = comparison.to_csv(tmp_path / "new" / "comparison.csv")
    assert (tmp_path / "new" / "comparison.csv").read_text() == text
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == len(comparison.differences) == 8
    for row, each in zip(rows, comparison.differences, strict=True):
        assert (row["method"], row["measure"]) == (each.method, each.measure)
        assert float(row["difference"]) == round(each.difference, 4)
        assert (float(row["low"]), float(row["high"])) == tuple(
            round(value, 4) for value in each.interval
        )
        assert row["excludes_zero"] == str(each.excludes_zero)
    values = comparison.to_dict()
    assert json.loads(json.dumps(values)) == values
    assert (
        values["differences"][5]["difference"] == comparison.differences[5].difference
    )
    assert isinstance(comparison, Comparison)


# What is refused


@pytest.mark.parametrize("name", ["dataset", "split", "view"])
def test_other_splits_and_views(name):
    reports = [measured("a", *drawn(0)), measured("b", *drawn(1), **{name: "other"})]
    with pytest.raises(ValueError, match=r"on one split in one view.*'other'"):
        compare(reports)


def changed(**changes):
    other = measured("b", *drawn(1))
    images = dataclasses.replace(other.images, **changes)
    return dataclasses.replace(other, images=images)


def test_other_images():
    one = measured("a", *drawn(0))
    images = one.images
    class_ids = images.class_ids.copy()
    class_ids[17] += 1
    message = "same images in the same order.*'b' has 90, 'a' 90.* differs is {}"
    with pytest.raises(ValueError, match=message.format(17)):
        compare([one, changed(class_ids=class_ids)])
    with pytest.raises(ValueError, match=message.format(0)):
        compare([one, changed(paths=images.paths[::-1])])
    fewer = {"class_ids": images.class_ids[:80], "paths": images.paths[:80]}
    with pytest.raises(ValueError, match=r"'b' has 80, 'a' 90.* differs is 80"):
        compare([one, changed(**fewer)])


def test_tuned_and_fixed_thresholds_are_not_mixed():
    reports = [measured("a", *drawn(0)), measured("b", *drawn(1), tuned_index=None)]
    with pytest.raises(ValueError, match=r"have a tuned threshold, or none.*'b'"):
        compare(reports)


@pytest.mark.parametrize(
    "make", [list, lambda x: {"a": x}, lambda x: {"a": x, "b": []}]
)
def test_fewer_than_two_methods(make):
    with pytest.raises(ValueError, match="at least two methods"):
        compare(make([measured("a", *drawn(0))]))


@pytest.mark.parametrize(
    ("draws", "error"), [(0, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_draws_are_checked(draws, error):
    reports = [measured(str(seed), *drawn(seed)) for seed in range(2)]
    with pytest.raises(error, match="`draws` must be an integer >= 1"):
        compare(reports, draws=draws)


def test_memory_does_not_grow_with_the_draws():
    # Ten runs a method, so that nearly every image is of a kind of its own.
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 10, 5000)) < 0.6
    tracemalloc.start()
    difference_interval(one, other, 1500)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # All draws at once would be 60 MB for the counts of images alone.
    assert most < 45e6


def in_folder(folder, report):
    """Writes a report as `keras-wsol evaluate` does."""
    report.to_json(folder / "report.json")
    report.to_csv(folder / "images.csv", "images")
    return folder


def test_folders_of_reports_are_compared_as_the_reports(tmp_path):
    one, _ = with_v2("a", 0, 0.6)
    other, _ = with_v2("b", 1, 0.75)
    paths = in_folder(tmp_path / "a", one), in_folder(tmp_path / "b", other)
    expected = compare({"A": one, "B": [other, other]})
    found = compare({"A": paths[0], "B": [paths[1] / "report.json", other]})
    assert found == expected
    assert compare([str(path) for path in paths]).methods == ("a", "b")


def test_a_folder_without_a_report_is_refused(tmp_path):
    report, _ = with_v2("a", 0, 0.6)
    good = in_folder(tmp_path / "a", report)
    older = (good / "images.csv").read_text().replace("v2_right", "v3")
    bad = in_folder(tmp_path / "b", report)
    (bad / "images.csv").write_text(older)
    for path, why in ((tmp_path, "FileNotFoundError"), (bad, "KeyError: 'v2_right'")):
        with pytest.raises(ValueError, match=f"must be a folder with report.* {why}"):
            compare([good, path])


def test_a_notebook_shows_the_table():
    table = compare([measured("a", *drawn(0)), measured("b", *drawn(1))])
    assert table._repr_markdown_() == table.to_markdown()


def test_a_model_of_one_class_is_compared_by_paths():
    one, other = drawn(0), drawn(1)
    nameless = measured("object", *other)
    ids = np.zeros(COUNT, "int32")
    images = dataclasses.replace(nameless.images, class_ids=ids, predicted_ids=ids)
    nameless = dataclasses.replace(nameless, images=images, class_names=("object",))
    cam = measured("cam", *one)
    for pair in ([cam, nameless], [nameless, cam]):
        table = compare(pair)
        assert by_name(table)["object", "gt_known_loc"].share == np.mean(other[1])
        measures = {each.measure for each in table.differences}
        assert measures == {"gt_known_loc", "max_box_acc_v2"}
        assert "Top-1" not in table.to_markdown()
        assert table.to_markdown().count("GT-known Loc") == 1
    fewer = dataclasses.replace(images, paths=images.paths[::-1])
    with pytest.raises(ValueError, match="same images in the same order"):
        compare([cam, dataclasses.replace(nameless, images=fewer)])
