"""Data sets and files as arrays ready for training, and the preprocessing that new rows go through.

    digits = gossamer.data.load("digits")                       # a name: see `names`
    people = gossamer.data.load("people.csv", target="income")  # or a file
    x, y = gossamer.data.read_features("new.csv", people.preprocessing)

Needs the extra ``gossamer[data]`` (scikit-learn, scipy, pandas, pillow), and ``gossamer[parquet]`` for Parquet files.
"""

from gossamer.data.catalogue import names
from gossamer.data.corpora import Text, load_images, load_text
from gossamer.data.dataset import Dataset, Split
from gossamer.data.loading import NewRows, load, read_features, read_rows
from gossamer.data.preprocess import Preprocessing
from gossamer.data.reading import Reading
from gossamer.data.table import Table, read_table

__all__ = [
    "Dataset",
    "NewRows",
    "Preprocessing",
    "Reading",
    "Split",
    "Table",
    "Text",
    "load",
    "load_images",
    "load_text",
    "names",
    "read_features",
    "read_rows",
    "read_table",
]
