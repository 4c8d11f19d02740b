from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gossamer
import gossamer as gs
from gossamer.cli import main
from gossamer.training import Epoch, Fit
from gossamer.training.architecture import architecture

SMALL = ["--hidden=12", "--epochs=2", "--batch-size=32", "--threads=1", "--density=0.4", "--activation=relu"]


def write_table(path: Path, rows: int = 120, *, labelled: bool = True, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    x = rng.normal(size=(rows, 4)) + 3 * np.eye(4)[labels]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "c", "d", *(["kind"] if labelled else [])])
        for row, label in zip(x, labels, strict=True):
            writer.writerow([*(f"{value:.5f}" for value in row), *([f"kind {label}"] if labelled else [])])
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("cli") / "table.csv")


@pytest.fixture(scope="module")
def run(table: Path) -> Path:
    """A finished run with a report."""
    path = table.parent / "run"
    assert main(["train", str(table), "--target=kind", f"--out={path}", "--quiet", *SMALL]) == 0
    return path


def mistake(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """The one message of a command that fails, which has no traceback and prints nothing else."""
    code = main([str(word) for word in words])
    out, error = capsys.readouterr()
    assert (code, out) == (2, "")
    assert "Traceback" not in error
    return error


# ---- train -----------------------------------------------------------------------------------------------------------


def test_train_refuses_to_run_several_times_under_torchrun(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    words = "train", table, "--target=kind", f"--out={tmp_path / 'run'}"
    assert "train must run in one process, got WORLD_SIZE=2" in mistake(capsys, *words)
    assert not (tmp_path / "run").exists()


def test_train_shows_its_choices_its_progress_and_the_comparison(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", str(table), "--target=kind", "--seeds=2", *SMALL]) == 0
    out, error = capsys.readouterr()
    assert "table.csv: 84 rows to train on, 12 to validate, 24 to test; 4 features, 3 classes" in error
    assert "4-12-3, density 0.4 (er), output dense, relu, SET moving 0.3 an epoch" in error
    assert "2 epochs in batches of 32, adam at " in error
    assert len(re.findall(r"^(sparse|dense), seed [01]  epoch [12]/2  loss \d", error, re.MULTILINE)) == 8
    assert "Test accuracy" in out
    assert f"Report: {Path('runs') / 'table-1' / 'report.html'}" in out
    assert Path("runs/table-1/report.html").exists()
    assert f'data = "{table}"' in Path("runs/table-1/config.toml").read_text()


def test_quiet_prints_the_folder_alone(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a run"
    assert (
        main(["train", str(table), "--target=kind", f"--out={path}", "--quiet", "--no-report", "--no-twin", *SMALL])
        == 0
    )
    assert capsys.readouterr() == (f"{path}\n", "")
    assert not (path / "report.html").exists()


def test_json_prints_one_object_alone(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run"
    assert main(["train", str(table), "--target=kind", f"--out={path}", "--json", *SMALL]) == 0
    out, error = capsys.readouterr()
    found = json.loads(out)
    assert error == ""
    assert (found["run"], found["report"]) == (str(path), str(path / "report.html"))
    assert [network["network"] for network in found["networks"]] == ["sparse", "dense"]


def test_every_option_reaches_the_config(table: Path, tmp_path: Path) -> None:
    words = (
        "--hidden 9,8 --density 0.5 --output-density 0.6 --allocate uniform --activation topk:4 --dropout 0.1 "
        "--rewire none --fraction 0.2 --epochs 1 --batch-size 16 --optimizer sgd --learning-rate 0.05 "
        "--schedule constant --momentum 0.5 --weight-decay 0.001 --max-grad-norm 2 --patience 3 --seeds 1 --seed 7 "
        "--no-twin --device cpu --amp --threads 1 --quiet"
    )
    assert main(["train", str(table), "--target", "kind", "--out", str(tmp_path / "run"), *words.split()]) == 0
    lines = (tmp_path / "run" / "config.toml").read_text().splitlines()
    for line in (
        'target = "kind"', "hidden = [9, 8]", "density = 0.5", "output_density = 0.6", 'allocate = "uniform"',
        'activation = "topk:4"', "dropout = 0.1", 'rewire = "none"', "fraction = 0.2", "epochs = 1", "batch_size = 16",
        'optimizer = "sgd"', "learning_rate = 0.05", 'schedule = "constant"', "momentum = 0.5", "weight_decay = 0.001",
        "max_grad_norm = 2.0", "patience = 3", "seeds = 1", "seed = 7", "twin = false", 'device = "cpu"', "amp = true",
        "threads = 1",
    ):  # fmt: skip
        assert line in lines


def test_noise_is_trained_with_and_the_twin_has_dropout(table: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    noise = ["--activation=relu+sparseout:q=1.5,p=0.3", "--weight-noise=bridgeout:q=1,p=0.2"]
    assert main(["train", str(table), "--target=kind", f"--out={path}", "--quiet", *SMALL, *noise]) == 0
    lines = (path / "config.toml").read_text().splitlines()
    assert 'activation = "relu+sparseout:q=1.5,p=0.3"' in lines
    assert 'weight_noise = "bridgeout:q=1,p=0.2"' in lines
    folder = gs.runs.RunFolder(path)
    options, model = folder.options(), gs.runs.load_model(path / "model.safetensors").model
    assert any(isinstance(layer, gs.BridgeoutSparseLinear) for layer in model.modules())
    assert [layer.p for layer in model.modules() if isinstance(layer, gs.Sparseout)][:1] == [0.3]
    twin = architecture(options, 4, 3, sparse=False)
    assert (twin["activation"], twin["dropout"], "weight_noise" in twin) == ("relu", 0.3, False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--activation=relu+sparseout:q=1.5,p=2", "p must be in [0, 1), got '2'"),
        ("--activation=relu+sparseout", "sparseout must have an exponent q"),
        ("--weight-noise=bridgeout", "bridgeout must have an exponent q"),
    ],
)
def test_wrong_noise_is_refused_before_anything_is_written(
    words: str, message: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    assert main(["train", str(table), "--target=kind", f"--out={path}", *SMALL, words]) != 0
    assert message in capsys.readouterr().err
    assert not path.exists()


def test_rules_are_found_in_any_spelling_with_their_own_fraction(table: Path, tmp_path: Path) -> None:
    words = ["--rewire=ctre", "--no-twin", "--no-report", "--quiet", *SMALL]
    assert main(["train", str(table), "--target=kind", f"--out={tmp_path / 'run'}", *words]) == 0
    lines = (tmp_path / "run" / "config.toml").read_text().splitlines()
    assert 'rewire = "CTRE"' in lines
    assert "fraction = 0.2" in lines


def test_epsilon_takes_the_place_of_density(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--epsilon=1.5", *(word for word in SMALL if not word.startswith("--density"))]
    path = tmp_path / "run"
    assert main(["train", str(table), "--target=kind", f"--out={path}", *words]) == 0
    assert "4-12-3, epsilon 1.5, density 0.5 (er), output dense" in capsys.readouterr().err
    lines = (path / "config.toml").read_text().splitlines()
    assert "epsilon = 1.5" in lines
    assert not [line for line in lines if line.startswith("density")]
    results = json.loads((path / "results.json").read_bytes())
    assert results["networks"][0]["layers"][0]["connections"] == 1.5 * (4 + 12)
    assert "<dt>epsilon</dt><dd>1.5</dd>" in (path / "report.html").read_text()
    assert main(["train", "--resume", str(path), "--quiet"]) == 0
    assert main(["predict", str(path), str(table), "--json"]) == 0
    capsys.readouterr()
    assert "leave out --epsilon" in mistake(capsys, "train", "--resume", path, "--epsilon", "2")


def test_overwrite_replaces_a_run(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", str(table), "--target=kind", f"--out={tmp_path / 'run'}", "--no-twin", "--quiet", *SMALL]
    assert main(words) == 0
    capsys.readouterr()
    assert "already holds a run" in mistake(capsys, *words)
    assert main([*words, "--overwrite", "--seed=5"]) == 0
    assert "seed = 5" in (tmp_path / "run" / "config.toml").read_text().splitlines()


def test_ctrl_c_tells_how_to_go_on_and_going_on_works(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my run"
    with monkeypatch.context() as patch:
        epoch = Fit._epoch

        def interrupted(self: Fit, *arguments: object) -> Epoch:
            if len(self.history) == 1:
                raise KeyboardInterrupt
            return epoch(self, *arguments)  # type: ignore[arg-type]

        patch.setattr(Fit, "_epoch", interrupted)
        assert main(["train", str(table), "--target=kind", f"--out={path}", *SMALL]) == 130
    assert f"gossamer: stopped. Continue with: gossamer train --resume '{path}'\n" in capsys.readouterr().err
    assert main(["train", "--resume", str(path)]) == 0
    out, error = capsys.readouterr()
    assert "sparse, seed 0 continues after epoch 1" in error
    assert "Test accuracy" in out
    assert (path / "report.html").exists()


def test_resume_writes_a_report_that_is_missing(run: Path) -> None:
    (run / "report.html").unlink()
    assert main(["train", "--resume", str(run), "--quiet"]) == 0
    assert (run / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["train"], "train needs DATA"),
        (["train", "digit"], "did you mean 'digits'"),
        (["train", "nowhere.csv"], "nowhere.csv"),
        (["train", "digits", "--hidden", "12,x"], "--hidden: must be whole numbers"),
        (["train", "digits", "--hidden", "0"], "hidden must be"),
        (["train", "digits", "--density", "2"], "density must be in (0, 1], got 2.0"),
        (["train", "digits", "--density", "much"], "invalid float value"),
        (
            ["train", "digits", "--density", "0.1", "--epsilon", "20"],
            "density and epsilon both set the number of connections: give one of them",
        ),
        (["train", "digits", "--epsilon", "0"], "epsilon must be a finite number above 0, got 0.0"),
        (["train", "digits", "--epsilon", "20", "--allocate", "uniform"], "allocate must be 'er' or 'erk'"),
        (["train", "digits", "--activation", "hoyer:3"], "hoyer:3"),
        (["train", "digits", "--rewire", "grow"], "rewire must be one of 'none', 'SET'"),
        (["train", "digits", "--epochs", "0"], "epochs must be"),
        (["train", "digits", "--optimizer", "lion"], "optimizer must be one of"),
        (["train", "digits", "--target", "label"], "target must be None"),
        (["train", "digits", "--device", "abacus"], "device must be one that this machine has"),
        (["train", "digits", "--seed", "-1"], "seed"),
        (["train", "digits", "--epoch", "3"], "unrecognized arguments: --epoch"),
        (["train", "--resume", "nowhere"], "which doesn't exist"),
        (
            ["train", "digits", "--resume", "nowhere", "--epochs", "3", "--no-twin"],
            "leave out DATA, --no-twin, --epochs",
        ),
        (["predict", "nowhere", "digits"], "which doesn't exist"),
        (["report", "nowhere"], "which doesn't exist"),
        (["summary", "nowhere"], "which doesn't exist"),
    ],
    ids=" ".join,
)
def test_mistakes_are_told_in_a_sentence(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in mistake(capsys, *words)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("noise.csv", bytes(range(256)) * 9),
        ("head.csv", b"a,kind\n"),
        ("single.csv", b"a,kind\n1,x\n2,x\n3,x\n"),
        ("few.csv", b"a,kind\n1,x\n2,y\n"),
        ("text.csv", b"just some text\nwithout columns\n"),
        ("noise.npz", b"PK\x03\x04garbage"),
        ("noise.parquet", b"PAR1garbage"),
        ("noise.svmlight", b"1 2 3 4\n"),
        ("photo.jpg", b"\xff\xd8"),
    ],
)
def test_garbage_files_are_told_in_a_sentence(
    name: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    assert mistake(capsys, "train", name, "--target=kind").startswith("gossamer: ")
    assert os.listdir(tmp_path) == [name]


def test_a_diverging_run_advises_and_does_not_say_to_resume(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--optimizer=sgd", "--learning-rate=1e30", "--quiet", *SMALL]
    error = mistake(capsys, "train", table, "--target=kind", f"--out={tmp_path / 'run'}", *words)
    assert "Lower the learning rate" in error
    assert "--resume" not in error


def test_a_failure_of_the_disk_tells_how_to_go_on(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: object, *_: object) -> None:
        raise gossamer.InputError("the disk is full")

    monkeypatch.setattr("gossamer.runs.folder.RunFolder.save", full)
    error = mistake(capsys, "train", table, "--target=kind", f"--out={tmp_path / 'run'}", "--quiet", *SMALL)
    assert f"the disk is full. When that is fixed, continue with: gossamer train --resume {tmp_path / 'run'}" in error


def test_too_little_memory_is_told(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def greedy(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr("gossamer.cli.commands.train_run", greedy)
    assert "isn't enough memory" in mistake(capsys, "train", table, "--target=kind", "--quiet")


@pytest.mark.parametrize("name", ["rich", "sklearn.datasets"])
def test_a_missing_extra_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(_: object) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("gossamer.cli.commands.train", missing)
    error = mistake(capsys, "train", "digits")
    assert name.partition(".")[0] in error
    assert "pip install 'gossamer[cli]'" in error


# ---- predict ---------------------------------------------------------------------------------------------------------


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_predict_prints_labels_and_probabilities(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = write_table(tmp_path / "new.csv", 30, labelled=False, seed=1)
    assert main(["predict", str(run), str(new)]) == 0
    out, error = capsys.readouterr()
    rows = read_csv(out)
    assert [row["row"] for row in rows] == [str(number) for number in range(1, 31)]
    for row in rows:
        shares = {name: float(row[f"p({name})"]) for name in ("kind 0", "kind 1", "kind 2")}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
        assert row["label"] == max(shares, key=lambda name: shares[name])
    assert error == ""


def test_predict_scores_what_is_labelled_and_writes_a_file(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = write_table(tmp_path / "new.csv", 30, seed=1)
    assert main(["predict", str(run), str(new), "--out", str(tmp_path / "out.csv")]) == 0
    out, error = capsys.readouterr()
    rows = read_csv((tmp_path / "out.csv").read_text())
    right = sum(row["label"] == f"kind {i % 3}" for i, row in enumerate(rows))
    assert out == ""
    assert f"accuracy {100 * right / 30:.1f} % ({right} of 30)" in error
    assert f"30 rows in {tmp_path / 'out.csv'}" in error


def test_predict_json_is_one_object(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = write_table(tmp_path / "new.csv", 6, seed=1)
    assert main(["predict", str(run / "model.safetensors"), str(new), "--json"]) == 0
    out, error = capsys.readouterr()
    found = json.loads(out)
    assert error == ""
    assert found["rows"] == len(found["predictions"]) == 6
    assert found["classes"] == ["kind 0", "kind 1", "kind 2"]
    assert 0 <= found["accuracy"] <= 1
    assert found["predictions"][0]["probability"] == max(found["predictions"][0]["probabilities"])


def test_predict_says_when_rows_are_not_new(run: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(run), str(table)]) == 0
    assert "trained on" in capsys.readouterr().err


def test_predict_tells_of_categories_that_training_had_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    old.write_text("city,kind\n" + "".join(f"{('Ulm', 'Jena')[i % 2]},{'ab'[i % 2]}\n" for i in range(40)))
    new.write_text("city\nUlm\nAtlantis\nJena\n")
    path = tmp_path / "run"
    words = [f"--out={path}", "--quiet", "--no-report", "--no-twin", *SMALL]
    assert main(["train", str(old), "--target=kind", *words]) == 0
    capsys.readouterr()
    assert main(["predict", str(path), str(new)]) == 0
    assert "city: 1 of 3 rows hold nothing that training had" in capsys.readouterr().err


def test_predict_by_name_takes_the_rows_kept_for_testing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run"
    assert main(["train", "wine", f"--out={path}", "--json", "--no-report", *SMALL]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert main(["predict", str(path), "wine", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == trained["data"]["test"]
    assert found["accuracy"] == trained["networks"][0]["test_accuracy"]


def test_predict_refuses_pixels_of_another_range(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 3, 3), dtype=np.uint8)
    np.savez(tmp_path / "bytes.npz", x=pixels, y=np.arange(60) % 3)
    np.savez(tmp_path / "floats.npz", x=pixels / 255)
    words = [f"--out={tmp_path / 'run'}", "--quiet", "--no-report", "--no-twin", *SMALL]
    assert main(["train", str(tmp_path / "bytes.npz"), *words]) == 0
    capsys.readouterr()
    error = mistake(capsys, "predict", tmp_path / "run", tmp_path / "floats.npz")
    assert "pixels in floats.npz must be from 0 to 255 as in training, got 0 to 1" in error


def test_predict_refuses_what_does_not_fit(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.csv").write_text("a,b,c\n1,2,3\n")
    assert "'d'" in mistake(capsys, "predict", run, tmp_path / "other.csv")
    (tmp_path / "text.csv").write_text("a,b,c,d\n1,2,3,four\n")
    assert "four" in mistake(capsys, "predict", run, tmp_path / "text.csv")
    (tmp_path / "empty").mkdir()
    assert "model.safetensors doesn't exist" in mistake(capsys, "predict", tmp_path / "empty", tmp_path / "text.csv")
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense")
    assert "is damaged" in mistake(capsys, "predict", tmp_path / "bad.safetensors", tmp_path / "text.csv")
    new = write_table(tmp_path / "new.csv", 3)
    assert "can't be written" in mistake(capsys, "predict", run, new, "--out", tmp_path / "no" / "out.csv")


def test_how_a_table_is_read_is_printed_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"r{i};{i * 7 % 11},5;{i % 5};{i % 3};k{i % 2}" for i in range(60)]
    old, new, path = tmp_path / "old.txt", tmp_path / "new.txt", tmp_path / "run"
    old.write_bytes("\n".join(["key;größe;a, b;code;kind", *rows]).encode("cp1252"))
    words = ["--index=key", '--drop="a, b"', "--categorical=code", f"--out={path}", *SMALL]
    assert main(["train", str(old), "--target=kind", "--no-twin", "--no-report", *words]) == 0
    assert "  read as CP1252, separated by ';', with decimal commas\n" in capsys.readouterr().err
    lines = (path / "config.toml").read_text().splitlines()
    assert {'index = "key"', 'drop = ["a, b"]', 'categorical = ["code"]'} <= set(lines)
    assert main(["train", "--resume", str(path), "--quiet"]) == 0
    capsys.readouterr()
    new.write_bytes("größe;code;key;kind\n3,5;1;007;k1\n1,5;2;x;\n1,5;7;y;other\n".encode("cp1252"))
    assert main(["predict", str(path), str(new)]) == 0
    out, error = capsys.readouterr()
    assert [row["row"] for row in read_csv(out)] == ["007", "x", "y"]
    assert "of 1)" in error
    assert "2 of 3 rows have no label, or one that training did not have" in error
    assert "code: 1 of 3 rows hold nothing that training had" in error
    new.write_text("größe|code\n3.5|1\n", "utf-8")
    assert main(["predict", str(path), str(new), "--decimal=.", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 1


def test_a_table_on_standard_input(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(table.read_bytes())))
    words = [f"--out={path}", "--quiet", "--no-twin", "--no-report", *SMALL]
    assert main(["train", "-", "--target=kind", *words]) == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(table.read_bytes())))
    capsys.readouterr()
    assert main(["predict", str(path), "-", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 120
    (path / "results.json").unlink()
    assert "came from standard input" in mistake(capsys, "train", "--resume", path)


def test_sparse_rows_are_trained_on_and_predicted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    lines = []
    for i in range(200):
        topic = rng.choice(40, 8, replace=False) * 400 + i % 2 + 1  # words of its class, among others
        entries = {int(word): 1.0 for word in [*rng.integers(1, 20001, 10), *topic]}
        lines.append(f"{i % 2} " + " ".join(f"{word}:{entries[word]:g}" for word in sorted(entries)))
    old, path = tmp_path / "old.svmlight", tmp_path / "run"
    old.write_text("\n".join(lines) + "\n")
    words = [
        f"--out={path}",
        "--hidden=16",
        "--epochs=8",
        "--density=0.5",
        "--threads=1",
        "--activation=relu",
        "--quiet",
    ]
    assert main(["train", str(old), "--no-report", "--seeds=1", *words]) == 0
    results = json.loads((path / "results.json").read_bytes())
    assert all(network["test_accuracy"] > 0.9 for network in results["networks"])
    assert 19900 < results["data"]["features"] <= 20000
    assert main(["train", "--resume", str(path), "--quiet", "--no-report"]) == 0
    capsys.readouterr()
    assert main(["predict", str(path), str(old), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] > 0.9
    assert main(["predict", str(path / "model.safetensors"), str(old), "--out", str(tmp_path / "out.csv")]) == 0


def test_devices_and_targets_that_are_not_there(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = mistake(capsys, "train", table, "--target=kind", "--device=xla")
    assert error.startswith("gossamer: device must be one that this machine has ('cpu'")
    assert len(error.splitlines()) == 1
    assert "--target COLUMN" in mistake(capsys, "train", table)


# ---- report, summary, the rest ---------------------------------------------------------------------------------------


def test_report_writes_pages(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--out", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'page.html'}\n"
    assert main(["report", str(run), str(run), "--out", str(tmp_path / "two.html")]) == 0
    assert (tmp_path / "two.html").exists()


def test_summary_shows_the_layers(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", str(run)]) == 0
    out = capsys.readouterr().out
    assert "Test accuracy" in out
    assert "linear1" in out
    assert main(["summary", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == 1


@pytest.mark.parametrize("width", ["40", "60", "200"])
def test_tables_keep_to_the_width_of_the_terminal(
    width: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    assert main(["summary", str(run)]) == 0
    assert all(len(line) <= int(width) for line in capsys.readouterr().out.splitlines())


def test_an_unfinished_run_says_how_to_finish_it(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("config.toml", "metrics.jsonl"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    for command in ("report", "summary"):
        assert f"gossamer train --resume {tmp_path}" in mistake(capsys, command, tmp_path)


def test_version_and_help_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert gossamer.__version__ in capsys.readouterr().out
    for command in ("train", "predict", "report", "summary"):
        assert main([command, "--help"]) == 0
        assert f"usage: gossamer {command}" in capsys.readouterr().out


def test_help_fits_eighty_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for words in (["--help"], ["train", "--help"], ["predict", "--help"], ["report", "--help"], ["summary", "--help"]):
        assert main(words) == 0
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def in_a_process(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *code.split(maxsplit=1), *words], capture_output=True, text=True)


def test_the_package_runs_as_a_module() -> None:
    done = in_a_process("-m gossamer", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert gossamer.__version__ in done.stdout


def test_a_reader_that_goes_away_leaves_no_traceback(run: Path) -> None:
    deaf = "import os; read, write = os.pipe(); os.close(read); os.dup2(write, 1)"
    done = in_a_process(f"-c {deaf}; import sys; from gossamer.cli import main; sys.exit(main())", "summary", str(run))
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("words", [["summary", "RUN"], ["--help"], ["--version"]], ids=lambda words: words[0])
def test_a_full_disk_under_standard_output_is_named(run: Path, words: list[str]) -> None:
    code = "import sys; from gossamer.cli import main; sys.exit(main())"
    words = [str(run) if word == "RUN" else word for word in words]
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code, *words], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (
        2,
        "gossamer: standard output can't be written: No space left on device\n",
    )


def test_a_closed_standard_output_is_named(run: Path) -> None:
    close = "import os, sys; os.close(1); sys.stdout = None; from gossamer.cli import main; sys.exit(main())"
    done = in_a_process(f"-c {close}", "summary", str(run))
    assert (done.returncode, done.stderr) == (
        2,
        "gossamer: standard output is closed: redirect it to a file, or to /dev/null\n",
    )


@pytest.mark.parametrize("name", ["~no-such-user/x.csv", "a" * 256 + ".csv", "a\0b.csv"])
def test_names_that_no_file_can_have_are_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["train", name], ["predict", "run", name], ["summary", name], ["report", name]):
        assert "must" in mistake(capsys, *words)


def test_too_many_threads_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "threads must be a whole number from 1 to 1024" in mistake(capsys, "train", "digits", "--threads", "100000")


def test_version_and_help_need_no_torch() -> None:
    code = "import sys; sys.argv[0] = 'gossamer'; from gossamer.cli import main; main(sys.argv[1:]); "
    code += "print('torch' in sys.modules)"
    for word in ("--version", "--help"):
        assert in_a_process(f"-c {code}", word).stdout.endswith("False\n")
    imported = in_a_process("-c import sys, gossamer; print('torch._dynamo' in sys.modules)")
    assert imported.stdout == "False\n"
