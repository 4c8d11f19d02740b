"""Run folder to page: what is read, what is refused, what the numbers say, what the page holds."""

from __future__ import annotations

import base64
import errno
import io
import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer import report
from gossamer.errors import InputError
from gossamer.io.seal import EMPTY_SEAL, seal
from gossamer.report import compare, intervals, series, text

MakeRun = Callable[..., Path]
Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def run(make_run: MakeRun, tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def sealed(values: dict[str, Any]) -> bytes:
    """JSON with a seal, NaN and infinity included."""
    return seal(json.dumps(values | {"digest": EMPTY_SEAL}).encode() + b"\n")


def edit(folder: Path, change: Edit) -> Path:
    """Change ``results.json`` in place."""
    results = json.loads((folder / "results.json").read_text())
    change(results)
    (folder / "results.json").write_bytes(sealed(results))
    return folder


def embedded(page: Path) -> Any:
    """The data inside a page, as its script reads it."""

    class Finder(HTMLParser):
        inside, found = False, ""

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.inside = tag == "script" and ("id", "data") in attrs

        def handle_data(self, data: str) -> None:
            if self.inside:
                self.found += data

        def handle_endtag(self, tag: str) -> None:
            self.inside = False

    finder = Finder()
    finder.feed(page.read_text("utf-8"))
    return json.loads(finder.found)


# ---- reading ----


def test_reads_every_seed_of_both_networks_in_order(run: Path) -> None:
    found = report.read(run)
    assert [network.seed for network in found.sparse] == [0, 1, 2]
    assert [network.seed for network in found.dense] == [0, 1, 2]
    assert len(found.epochs) == 2 * 3 * 20
    assert found.config["seeds"] == "0, 1, 2"
    assert found.config["augment"] == "no"
    assert found.connectivity is not None
    assert found.connectivity.strength.shape == (21, 784)


def test_nested_options_become_dotted(run: Path) -> None:
    (run / "config.toml").write_bytes(seal(f"# {EMPTY_SEAL}\n[optimizer]\nname = 'sgd'\n".encode()))
    assert report.read(run).config == {"optimizer.name": "sgd"}


@pytest.mark.parametrize("keep", [0, 1, 20, -2, -1])
def test_lines_that_are_cut_or_missing_are_refused(run: Path, keep: int) -> None:
    metrics = run / "metrics.jsonl"
    *lines, last = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(b"".join(lines) + last[:keep])
    with pytest.raises(InputError, match=r"metrics\.jsonl.* is damaged.*gossamer train --resume"):
        report.read(run)


def test_line_repeated_after_a_resumption_counts_once(run: Path) -> None:
    metrics = run / "metrics.jsonl"
    last = json.loads(metrics.read_text().splitlines()[-1])
    with metrics.open("ab") as file:
        file.write(sealed(last | {"validation_loss": 7.0}))
    epochs = report.read(run).epochs
    assert len(epochs) == 120
    assert [line.validation_loss for line in epochs].count(7.0) == 1


def test_damaged_line_in_the_middle_is_named(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    lines[4] = lines[4][:30]
    (run / "metrics.jsonl").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 5 is damaged"):
        report.read(run)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="doesn't exist"):
        report.write(tmp_path / "nowhere")


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which holds none"):
        report.write(tmp_path)


@pytest.mark.parametrize("name", ["results.json", "metrics.jsonl"])
def test_unfinished_run_says_how_to_resume(make_run: MakeRun, tmp_path: Path, name: str) -> None:
    folder = make_run(tmp_path / "my run")
    (folder / name).unlink()
    with pytest.raises(InputError, match=re.escape(f"gossamer train --resume '{folder}'")):
        report.write(folder)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("content", [b"", b'{"format": 1', b"\xff\xfe", b"[]", b"null"])
def test_damaged_results_are_refused(run: Path, content: bytes) -> None:
    (run / "results.json").write_bytes(content)
    with pytest.raises(InputError, match=r"results\.json"):
        report.write(run)


def test_newer_format_is_refused(run: Path) -> None:
    edit(run, lambda r: r.update(format=2, gossamer="9.0"))
    with pytest.raises(InputError, match=r"format must be at most 1, got 2: .* newer gossamer \(9\.0\)"):
        report.write(run)


def test_unknown_fields_are_let_be(run: Path) -> None:
    edit(run, lambda r: (r.update(new=1), r["networks"][0].update(new=[1]), r["data"].update(new={})))
    report.write(run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["networks"][0].pop("test_loss"), r"networks\[0\]: Object missing required field `test_loss`"),
        (lambda r: r["networks"][1].update(seed=-1), r"networks\[1\]: seed must be a whole number .*, got -1"),
        (lambda r: r["networks"][0].update(test_accuracy=1.5), r"test_accuracy must be in \[0, 1\], got 1.5"),
        (lambda r: r["networks"][0].update(test_accuracy=math.nan), r"test_accuracy must be in \[0, 1\], got nan"),
        (lambda r: r["networks"][0].update(test_correct=10**6), "at most the 360 test samples"),
        (lambda r: r["networks"][0].update(network="lazy"), "network: Invalid enum value 'lazy'"),
        (lambda r: r["networks"][0].update(parameters=True), "parameters: Expected `int`, got `bool`"),
        (lambda r: r["networks"][0].update(latency_ms={"one": 1.0}), "Expected `int`, got `str`.*latency"),
        (lambda r: r["networks"][0]["layers"][0]["fan_in"].update(edges=[0, 1]), "edges must be one more than counts"),
        (lambda r: r["networks"][0]["layers"][0]["fan_in"].update(counts=["x"]), r"counts\[0\]: Expected `int`"),
        (lambda r: r.update(networks=[n for n in r["networks"] if n["network"] == "dense"]), "hold a sparse network"),
        (lambda r: r.update(networks=[1]), r"networks\[0\]: Expected `object`, got `int`"),
        (lambda r: r["data"].update(image=[28, 28, 3]), r"image must be \[height, width, channels\] of 784"),
        (lambda r: r["data"].update(features_names=["a"]), "features_names must have 784 names, got 1"),
        (lambda r: r["data"].update(test=0), "test must be a whole number of at least 1, got 0"),
    ],
)  # fmt: skip
def test_wrong_field_is_named(run: Path, change: Edit, message: str) -> None:
    edit(run, change)
    with pytest.raises(InputError, match=message):
        report.read(run)


def test_damaged_config_is_refused(run: Path) -> None:
    (run / "config.toml").write_text("data = [")
    with pytest.raises(InputError, match=r"config\.toml is damaged"):
        report.read(run)


def test_damaged_connectivity_is_refused(run: Path) -> None:
    whole = (run / "connectivity.npz").read_bytes()
    for content in (b"", b"PK", whole[: len(whole) // 2]):
        (run / "connectivity.npz").write_bytes(content)
        with pytest.raises(InputError, match=r"connectivity\.npz is damaged"):
            report.read(run)


def test_connectivity_of_another_shape_is_refused(run: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, strength=np.ones((3, 5)), degree=np.ones((3, 5), dtype=int), epochs=np.arange(3))
    (run / "connectivity.npz").write_bytes(seal(buffer.getvalue()))
    with pytest.raises(InputError, match=r"must have shape \(3, 784\), got \(3, 5\)"):
        report.read(run)


# ---- intervals ----


def test_wilson_interval_of_a_textbook_value() -> None:
    found = intervals.wilson(81, 263)  # Newcombe 1998 (single proportion), table I: 0.2553 to 0.3662
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_newcombe_interval_of_a_textbook_value() -> None:
    found = intervals.newcombe(9, 3, 10)  # Newcombe 1998 (two proportions), table II, contrast (e): 0.1705 to 0.8090
    assert (found.low, found.high) == pytest.approx((0.1705, 0.8090), abs=5e-5)


def test_t_interval_by_hand() -> None:
    found = intervals.mean_interval([0.96, 0.97, 0.98])
    half = 4.302652729911275 * 0.01 / math.sqrt(3)
    assert (found.low, found.center, found.high) == pytest.approx((0.97 - half, 0.97, 0.97 + half))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n))))
def test_intervals_hold_their_center_and_stay_in_range(counts: tuple[int, int, int]) -> None:
    one, two, n = counts
    alone, gap, back = intervals.wilson(one, n), intervals.newcombe(one, two, n), intervals.newcombe(two, one, n)
    assert 0 <= alone.low <= alone.center <= alone.high <= 1
    assert -1 <= gap.low <= gap.center <= gap.high <= 1
    assert (gap.low, gap.high) == pytest.approx((-back.high, -back.low))


def test_one_seed_takes_wilson_and_several_take_t(make_run: MakeRun, tmp_path: Path) -> None:
    one, three = report.read(make_run(tmp_path / "1", seeds=1)), report.read(make_run(tmp_path / "3", seeds=3))
    for run, alone, paired in [(one, "Wilson", "Newcombe"), (three, "t interval over 3", "paired t interval over 3")]:
        interval, gap = compare.accuracy(run, "sparse"), compare.difference(run)
        assert interval is not None
        assert gap is not None
        assert interval.method.startswith(alone)
        assert gap.method.startswith(paired)


def test_agreeing_seeds_do_not_pretend_to_be_certain(run: Path) -> None:
    def agree(results: dict[str, Any]) -> None:
        for network in results["networks"]:
            correct = 350 if network["network"] == "sparse" else 351
            network.update(test_correct=correct, test_accuracy=correct / 360)

    found = report.read(edit(run, agree))
    gap, interval = compare.difference(found), compare.accuracy(found, "sparse")
    assert gap is not None
    assert interval is not None
    assert not gap.decided
    assert interval.high > interval.low
    assert compare.headline(found).endswith("points worse than its dense twin, a difference within chance.")


def test_difference_is_paired_by_seed(run: Path) -> None:
    def spread(results: dict[str, Any]) -> None:
        for network in results["networks"]:
            base = {0: 300, 1: 320, 2: 340}[network["seed"]] + (network["seed"] % 2)
            correct = base + (10 if network["network"] == "sparse" else -network["seed"] % 2)
            network.update(test_correct=correct, test_accuracy=correct / 360)

    found = report.read(edit(run, spread))
    gap = compare.difference(found)
    assert gap is not None
    assert gap.decided
    assert "points better than its dense twin." in compare.headline(found)


# ---- rows ----


def row(folder: Path, label: str) -> compare.Row:
    return next(row for row in report.rows(report.read(folder)) if row.label == label)


def test_costs_are_ratios_of_means(run: Path) -> None:
    found = report.read(run)
    memory = row(run, "Memory to train")
    sparse = np.mean([n.weight_bytes + n.gradient_bytes + n.optimizer_bytes + n.index_bytes for n in found.sparse])
    dense = np.mean([n.weight_bytes + n.gradient_bytes + n.optimizer_bytes for n in found.dense])
    assert memory.factor == pytest.approx(dense / sparse)
    assert memory.verdict == "sparse"
    assert memory.ratio == "5.7× less"


def test_losses_of_sparse_are_marked(run: Path) -> None:
    assert (row(run, "Latency, one sample").ratio, row(run, "Latency, one sample").verdict) == ("1.6× slower", "dense")
    assert row(run, "indices of the connections").ratio == "dense needs none"
    page = report.write(run).read_text("utf-8")
    assert page.count("<em>dense wins</em>") == 2
    assert "trains 1.3× slower" in page


@pytest.mark.parametrize(
    ("sparse", "dense", "ratio", "verdict"),
    [
        (10.0, 10.0, "same", "even"),
        (10.0, 10.4, "about the same", "even"),
        (10.0, 20.0, "2.0× faster", "sparse"),
        (30.0, 10.0, "3.0× slower", "dense"),
        (1.0, 1234.0, "1,234× faster", "sparse"),
        (0.0, 1.0, "sparse needs none", "sparse"),
        (math.nan, 1.0, "no ratio", "even"),
        (math.inf, 1.0, "no ratio", "even"),
    ],
)
def test_verdict_on_training_time(run: Path, sparse: float, dense: float, ratio: str, verdict: str) -> None:
    def set_times(results: dict[str, Any]) -> None:
        for network in results["networks"]:
            network["training_seconds"] = sparse if network["network"] == "sparse" else dense

    found = row(edit(run, set_times), "Training time")
    assert (found.ratio, found.verdict) == (ratio, verdict)
    report.write(run)


def test_table_for_a_terminal(run: Path) -> None:
    table = report.table(run)
    assert table[0][0] == "Test accuracy"
    assert all(len(cells) == 4 and all(isinstance(cell, str) for cell in cells) for cells in table)
    assert ("  optimizer state", "216\xa0kB", "2.13\xa0MB", "9.9× less") in table


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (text.size(0), "0 B"),
        (text.size(999), "999 B"),
        (text.size(999_960), "1.00 MB"),
        (text.size(1.5e9), "1.50 GB"),
        (text.count(26586), "26 586"),
        (text.count(1_234_567), "1.23 million"),
        (text.duration(0), "0 s"),
        (text.duration(38e-6), "38.0 µs"),
        (text.duration(3725), "62 min"),
        (text.duration(7500), "2 h 5 min"),
        (text.percent(0.9684), "96.8 %"),
        (text.share(0.0999), "10 %"),
        (text.share(0.00953), "0.95 %"),
        (text.share(0.999), "99.9 %"),
        (text.share(1), "100 %"),
        (text.share(0.99996), "99.996 %"),
        (text.points(0.0031), "+0.3 points"),
        (text.points(-0.0005), "−0.05 points"),
        (text.points(0.00001), "0.0 points"),
        (text.percent(math.nan), "not finite"),
        (text.duration(math.inf), "not finite"),
        (text.count(math.nan), "not finite"),
        (text.plain(math.nan), "not finite"),
    ],
)
def test_numbers_read_well(shown: str, expected: str) -> None:
    assert re.sub(r"\s", " ", shown) == expected


# ---- the page ----


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("image", [True, False])
def test_page_needs_nothing_from_outside(make_run: MakeRun, tmp_path: Path, seeds: int, image: bool) -> None:
    path = report.write(make_run(tmp_path / "run", seeds=seeds, image=image))
    assert path == tmp_path / "run" / "report.html"
    page = path.read_text("utf-8")
    assert not re.search(r'(?:src|href)\s*=\s*"(?!#|data:)|url\(|@import|fetch\(|import\(', page)
    assert "default-src 'none'" in page
    assert [file.name for file in path.parent.iterdir() if ".part" in file.name] == []


def test_page_is_the_same_for_the_same_run(run: Path, tmp_path: Path) -> None:
    first = report.write(run, tmp_path / "a.html").read_bytes()
    assert report.write(run, tmp_path / "b.html").read_bytes() == first


@pytest.mark.parametrize("nasty", ["</script><script>alert(1)</script>", "<!--<script>", '"><b>&amp;', "]]>\u2028"])
def test_text_of_the_user_cannot_act(make_run: MakeRun, tmp_path: Path, nasty: str) -> None:
    names = [nasty + str(i) for i in range(30)]
    folder = make_run(tmp_path / "run", image=False, feature_names=names, name=nasty)
    text = f"# {EMPTY_SEAL}\ntarget = {json.dumps(nasty)}\n{json.dumps(nasty)} = 1\n"
    (folder / "config.toml").write_bytes(seal(text.encode()))
    path = report.write(folder)
    page = path.read_text("utf-8")
    assert page.count("</script>") == 2
    assert "alert(1)</script>" not in page
    assert "<!--" not in page
    assert "><b>&amp;<" not in page
    assert set(embedded(path)["connectivity"]["labels"]) <= set(names)


def test_losses_that_are_not_finite_are_left_out(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    lines[3]["train_loss"], lines[4]["train_loss"] = math.nan, math.inf
    (run / "metrics.jsonl").write_bytes(b"".join(map(sealed, lines)))
    edit(run, lambda r: r["networks"][0].update(test_loss=math.nan))
    sparse = embedded(report.write(run))["curves"]["sparse"]
    assert sparse["seeds"][0]["train_loss"][3:5] == [None, None]
    assert sparse["mean"]["train_loss"][3:5] == [None, None]
    assert row(run, "Test loss").sparse == "not finite"


def test_curves_are_means_over_seeds_and_time_adds_up(run: Path) -> None:
    curves = embedded(report.write(run))["curves"]["dense"]
    values = np.array([seed["validation_accuracy"] for seed in curves["seeds"]])
    assert values.shape == (3, 20)
    assert curves["mean"]["validation_accuracy"] == pytest.approx(values.mean(axis=0).tolist(), rel=1e-5)
    total = np.mean([network.training_seconds for network in report.read(run).dense])
    assert curves["mean"]["time"][-1] == pytest.approx(float(total), rel=1e-5)


def test_grown_and_dropped_connections_of_each_layer_add_up_to_all(run: Path) -> None:
    rewired = embedded(report.write(run))["rewired"]
    assert [layer["layer"] for layer in rewired["layers"]] == ["0", "2"]
    for way in ("grown", "dropped"):
        total = np.sum([layer[way] for layer in rewired["layers"]], axis=0)
        assert total.tolist() == pytest.approx(rewired[way])
    assert rewired["layers"][0]["connections"] == report.read(run).sparse[0].layers[0].connections


def test_runs_that_did_not_record_layers_stay_readable(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    old = [{key: value for key, value in line.items() if key != "moved"} for line in lines]
    (run / "metrics.jsonl").write_bytes(b"".join(map(sealed, old)))
    page = report.write(run)
    assert embedded(page)["rewired"]["layers"] == []
    assert 'data-chart="rewired"' in page.read_text("utf-8")
    assert 'data-chart="moved:0"' not in page.read_text("utf-8")


@pytest.mark.parametrize("moved", [{"0": 3}, {"0": [1]}, {"0": [1, -1]}, {"0": [1, True]}, [1, 2]])
def test_damaged_grown_and_dropped_connections_are_refused(run: Path, moved: object) -> None:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    lines[0]["moved"] = moved
    (run / "metrics.jsonl").write_bytes(b"".join(map(sealed, lines)))
    with pytest.raises(InputError, match=r"moved"):
        report.read(run)


def test_map_keeps_every_degree_exactly(run: Path) -> None:
    packed = embedded(report.write(run))["connectivity"]
    connectivity = report.read(run).connectivity
    assert connectivity is not None
    for name, values, slack in (("degree", connectivity.degree, 1e-2), ("strength", connectivity.strength, 1e-4)):
        stored = np.frombuffer(base64.b64decode(packed[name]["values"]), "<u2").reshape(21, 784)
        assert stored / 65535 * packed[name]["max"] == pytest.approx(values, abs=slack)
    assert packed["epochs"] == list(range(21))


def test_half_of_all_connections() -> None:
    values = np.array([[4.0, 1, 1, 1, 1], [1, 1, 1, 1, 0], [0, 0, 0, 0, 0]])
    assert series._half(values) == [1, 2, 0]


def test_ranked_inputs_hold_the_best_of_every_snapshot(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", image=False)
    connectivity = report.read(folder).connectivity
    assert connectivity is not None
    labels = embedded(report.write(folder))["connectivity"]["labels"]
    for snapshot in connectivity.degree:
        assert {f"input {i}" for i in np.argsort(-snapshot, kind="stable")[: series.RANKED]} <= set(labels)


def test_long_runs_are_thinned_but_keep_both_ends(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "BUDGET", 784 * 5)
    epochs = embedded(report.write(make_run(tmp_path / "run")))["connectivity"]["epochs"]
    assert epochs == [0, 5, 10, 15, 20]


def test_channels_of_a_colour_image_are_summed(make_run: MakeRun, tmp_path: Path) -> None:
    folder = edit(make_run(tmp_path / "run"), lambda r: r["data"].update(image=[14, 14, 4]))
    connectivity = embedded(report.write(folder))["connectivity"]
    assert (connectivity["cells"], connectivity["image"], connectivity["features"]) == (196, [14, 14], 784)
    found = report.read(folder).connectivity
    assert found is not None
    assert connectivity["degree"]["max"] == found.degree.reshape(21, 196, 4).sum(axis=2).max()


def test_run_without_connectivity_or_twin_or_rewiring(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", dense=False, connectivity=False, rewire=False)
    page = report.write(folder).read_text("utf-8")
    assert "nothing to compare it with" in page
    assert "No connection was rewired" in page
    assert 'id="epoch"' not in page
    assert {cells[2] for cells in report.table(folder)} == {"–"}
    assert {cells[3] for cells in report.table(folder)} == {"no twin"}


def test_run_without_a_single_epoch(run: Path) -> None:
    (run / "metrics.jsonl").write_text("")
    report.write(edit(run, lambda r: [network.update(epochs=0) for network in r["networks"]]))


def test_deep_network_folds_all_but_the_first_layers(run: Path) -> None:
    def deepen(results: dict[str, Any]) -> None:
        for network in results["networks"]:
            network["layers"] = [layer | {"name": f"{i}.{layer['name']}"} for i in "ab" for layer in network["layers"]]

    page = report.write(edit(run, deepen)).read_text("utf-8")
    assert "<summary>2 more layers</summary>" in page
    assert (
        page.index('data-chart="fans:3:fan_out"') < page.index("<summary>") < page.index('data-chart="fans:4:fan_in"')
    )


def test_destination_that_cannot_be_written_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be written"):
        report.write(run, tmp_path / "no" / "page.html")
    with pytest.raises(InputError, match="can't be written"):
        report.write(run, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_failed_write_leaves_the_old_page(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = report.write(run)
    before = page.read_bytes()
    edit(run, lambda r: r.update(gossamer="0.2.0"))

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(InputError, match="disk full"):
        report.write(run)
    assert page.read_bytes() == before
    assert not [path for path in run.iterdir() if ".part" in path.name]


def test_several_runs_make_a_comparison(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"at {density}", density=density) for density in (0.05, 0.2)]
    path = report.write(runs)
    assert path == runs[0] / "comparison.html"
    page = path.read_text("utf-8")
    assert "2 runs compared" in page
    assert "Where their options differ" in page
    points = embedded(path)["points"]
    assert [(point["run"], point["network"]) for point in points] == [
        (0, "sparse"), (0, "dense"), (1, "sparse"), (1, "dense"),
    ]  # fmt: skip
    assert all(point["low"] <= point["accuracy"] <= point["high"] for point in points)


def test_comparison_across_data_sets_warns(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", image=False, dense=False)]
    assert "compare accuracies only within one data set" in report.write(runs).read_text("utf-8")


def test_sequence_of_one_run_is_its_report(run: Path) -> None:
    assert report.write([run]) == run / "report.html"


def test_no_run_is_refused() -> None:
    with pytest.raises(InputError, match="at least one run folder"):
        report.write([])
