"""The commands, given their parsed arguments."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gossamer import data as data_room
from gossamer.bench.command import bench
from gossamer.cli import terminal
from gossamer.cli.associate.run import associate
from gossamer.cli.evaluate.command import evaluate
from gossamer.errors import InputError
from gossamer.evaluate.predictor import Predictor
from gossamer.io.files import write_atomically
from gossamer.runs import ModelFile, Options, RunFolder, Watch, load_model, resume
from gossamer.runs import train as train_run
from gossamer.studies.command import study
from gossamer.training import DivergedError
from gossamer.training.recipe import completed
from gossamer.training.samples import SparseRows

__all__ = ["associate", "bench", "evaluate", "predict", "report", "study", "summary", "train"]

_WITH_RESUME = {"command", "resume", "no_report", "quiet", "json"}


# ---- train -----------------------------------------------------------------------------------------------------------


def train(arguments: argparse.Namespace) -> None:
    """Train, or continue a run; then show the comparison and write the page."""
    if (processes := os.environ.get("WORLD_SIZE", "1")) != "1":
        raise InputError(
            f"train must run in one process, got WORLD_SIZE={processes}: torchrun would train the same network "
            f"{processes} times. Run gossamer train without it; for training on several devices, write a loop with "
            "DistributedDataParallel (docs/rewiring.md)"
        )
    shown = not (arguments.quiet or arguments.json)
    watch = terminal.Progress() if shown else _Folder()
    try:
        with watch:
            folder = _resumed(arguments, watch) if arguments.resume else _trained(arguments, watch)
    except KeyboardInterrupt:
        if watch.folder is None:
            raise
        raise KeyboardInterrupt(f"stopped. Continue with: {_resume_command(watch.folder)}") from None
    except DivergedError:
        raise
    except InputError as error:
        if watch.folder is None:
            raise
        raise InputError(f"{error}. When that is fixed, continue with: {_resume_command(watch.folder)}") from error
    page = None if arguments.no_report else _write_page([folder.path], None)
    if arguments.json:
        results = json.loads(folder.results.read_bytes())
        print(json.dumps({"run": str(folder.path), "report": None if page is None else str(page), **results}))
    elif arguments.quiet:
        print(folder.path)
    else:
        terminal.show_comparison(folder.path, page)


class _Folder(Watch):
    """Remembers the folder, for the command that resumes it."""

    folder: RunFolder | None = None

    def begin(self, folder: RunFolder, *_: object) -> None:
        self.folder = folder

    def __enter__(self) -> _Folder:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _trained(arguments: argparse.Namespace, watch: Watch) -> RunFolder:
    if arguments.data is None:
        raise InputError(
            "train needs DATA (a file, or a name such as digits) or --resume RUN; see gossamer train --help"
        )
    given = {name: value for name, value in vars(arguments).items() if name in Options.__dataclass_fields__}
    if arguments.no_twin:
        given["twin"] = False
    reading = _reading(arguments)
    given |= {name: tuple(v) if isinstance(v, list) else v for name, v in reading.to_dict().items()}
    data = data_room.load(arguments.data, target=arguments.target, seed=arguments.seed or 0, reading=reading)
    if (path := Path(arguments.data).expanduser()).is_file():
        given["data"] = str(path.resolve())  # a run may be resumed from another folder
    machine = {"device": "cuda" if torch.cuda.is_available() else "cpu", "threads": torch.get_num_threads()}
    options = Options(**(machine | completed(given, len(data.train), len(data.features))))
    return train_run(options, data, arguments.out, watch, overwrite=bool(arguments.overwrite))


def _reading(arguments: argparse.Namespace) -> data_room.Reading:
    """The options of the command line about the file."""
    given = {name: getattr(arguments, name, None) for name in data_room.Reading.__dataclass_fields__}
    return data_room.Reading(**{name: value for name, value in given.items() if value is not None})


def _resumed(arguments: argparse.Namespace, watch: Watch) -> RunFolder:
    extra = [name for name, value in vars(arguments).items() if value not in (None, False) and name not in _WITH_RESUME]
    if extra:
        names = ", ".join("DATA" if name == "data" else "--" + name.replace("_", "-") for name in extra)
        raise InputError(f"--resume takes its options from the run's config.toml: leave out {names}")
    return resume(arguments.resume, watch)


def _resume_command(folder: RunFolder) -> str:
    return f"gossamer train --resume {shlex.quote(str(folder.path))}"


# ---- predict ---------------------------------------------------------------------------------------------------------


def predict(arguments: argparse.Namespace) -> None:
    """Labels and probabilities of the rows in a file or a data set, as CSV or JSON."""
    path: Path = arguments.run / "model.safetensors" if arguments.run.is_dir() else arguments.run
    if not arguments.run.exists():
        raise InputError(f"run must be the folder of a training run, got {str(arguments.run)!r}, which doesn't exist")
    file = load_model(path)
    notes = []
    y: NDArray[np.int64] | None
    index: tuple[str, ...] | None = None
    if arguments.data.lower().replace("-", "_") == file.data:
        test = data_room.load(file.data, seed=file.seed).test
        x, y = test.x, test.y
        notes.append(f"the {len(y)} rows of {file.data} that the run kept for testing")
    else:
        new = data_room.read_rows(arguments.data, file.preprocessing, _reading(arguments))
        x, y, index = new.x, new.y, new.index
        for column, count in file.preprocessing.unseen(x).items():
            notes.append(
                f"{column}: {count} of {x.shape[0]} rows hold nothing that training had, "
                "which counts as none of its values"
            )
        if Path(arguments.data).expanduser().resolve() == Path(file.data):
            notes.append("this is the file that the run was trained on: most of these rows are not new to it")
    probabilities = _probabilities(file, x)
    best = probabilities.argmax(1) if len(probabilities) else np.zeros(0, dtype=np.int64)
    known = np.zeros(0, bool) if y is None else y >= 0
    right = int((best == y)[known].sum()) if known.any() else 0
    accuracy = right / int(known.sum()) if known.any() else None

    if arguments.json:
        rows = [
            {"label": file.classes[label], "probability": float(row[label]), "probabilities": row.tolist()}
            | ({} if index is None else {"row": index[i]})
            for i, (label, row) in enumerate(zip(best, probabilities, strict=True))
        ]
        content = json.dumps(
            {"rows": len(best), "accuracy": accuracy, "classes": list(file.classes), "predictions": rows}
        )
    else:
        content = _csv(file.classes, best, probabilities, index)
    if arguments.out is not None:
        write_atomically(arguments.out, content)
    else:
        sys.stdout.write(content + ("\n" if arguments.json else ""))
    if arguments.quiet or arguments.json:
        return
    if accuracy is not None:
        notes.append(f"accuracy {100 * accuracy:.1f} % ({right} of {int(known.sum())})")
        if not known.all():
            notes.append(f"{int((~known).sum())} of {len(best)} rows have no label, or one that training did not have")
    if arguments.out is not None:
        notes.append(f"{len(best)} rows in {arguments.out}")
    for note in notes:
        print(note, file=sys.stderr)


def _probabilities(file: ModelFile, x: Any) -> NDArray[np.float32]:
    batches: Iterable[torch.Tensor] = SparseRows(x, torch.device("cpu"))
    if isinstance(x, np.ndarray):
        inputs = file.inputs(x)
        batches = inputs.split(4096 if inputs.dim() == 2 else 256)
    predict = Predictor(file.model)
    with torch.inference_mode():
        parts = [predict(batch).softmax(1) for batch in batches]
    probabilities: NDArray[np.float32] = torch.cat(parts).numpy()
    return probabilities


def _csv(
    classes: tuple[str, ...],
    best: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    index: tuple[str, ...] | None,
) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "label", *(f"p({name})" for name in classes)])
    for number, (label, row) in enumerate(zip(best, probabilities, strict=True), start=1):
        writer.writerow([number if index is None else index[number - 1], classes[label], *(f"{p:.6g}" for p in row)])
    return text.getvalue()


# ---- report and summary ----------------------------------------------------------------------------------------------


def report(arguments: argparse.Namespace) -> None:
    """Write the page of one run or of several, and print its path."""
    print(_write_page(arguments.runs, arguments.out))


def _write_page(runs: list[Path], destination: Path | None) -> Path:
    from gossamer.report import write

    return write(runs[0] if len(runs) == 1 else runs, destination)


def summary(arguments: argparse.Namespace) -> None:
    """Show a finished run, or print its results."""
    from gossamer.report import read

    run = read(arguments.run)
    if arguments.json:
        print(json.dumps(json.loads((run.folder / "results.json").read_bytes())))
    else:
        terminal.show_summary(run)
