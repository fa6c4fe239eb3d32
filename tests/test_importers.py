"""Files and folders to runs, and back without loss."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayescale.errors import DataError, SpecError
from bayescale.importers import read_runs
from bayescale.runs import as_runs, runs_hash, write_runs

CSV = "params,tokens,loss\n1e8,2e9,3.1\n2e8,4e9,2.9\n"
COLUMNS = {"N": "params", "T": "tokens", "loss": "loss"}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def awkward_runs():
    """Checkpoints, seventeen digits, text, flags, missing values, a row that is set aside."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "run": ["b", "b", "a", "c"],
            "N": [1e8, 1e8, 3e8, 7e8],
            "T": [2e9, 1e9, 5e9, 0],
            "loss": rng.uniform(2, 4, 4),
            "seed": [1, 1, np.nan, 2625750318],
            "note": ['é, "quoted"', None, "x;y", "nan-free"],
            "tuned": [True, True, False, True],
            "extra": rng.standard_normal(4),
        }
    )
    return as_runs(frame, on_invalid="set_aside")


@pytest.mark.parametrize("suffix", ["nc", "parquet", "csv", "jsonl"])
def test_runs_come_back_as_they_were_written(tmp_path, suffix):
    runs = awkward_runs()
    back = read_runs(write_runs(runs, tmp_path / f"runs.{suffix}"))
    xr.testing.assert_equal(back, runs)
    assert runs_hash(back) == runs_hash(runs)
    assert back["reason"].values.ravel()[-2] == "set aside: zero tokens"


def test_netcdf_keeps_the_attributes_as_well(tmp_path):
    runs = awkward_runs()
    xr.testing.assert_identical(read_runs(write_runs(runs, tmp_path / "runs.nc")), runs)


def test_an_unknown_suffix_cannot_be_written(tmp_path):
    with pytest.raises(SpecError, match=r"`runs.xlsx` says no format; one of .nc, .parquet"):
        write_runs(awkward_runs(), tmp_path / "runs.xlsx")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.csv", "\ufeff" + CSV),
        ("a.tsv", CSV.replace(",", "\t")),
        ("a.csv", CSV.replace(",", ";")),
        ("a.csv.gz", gzip.compress(CSV.encode())),
        ("a.json", json.dumps(pd.read_csv(pd.io.common.StringIO(CSV)).to_dict("records"))),
        ("a.json", json.dumps(pd.read_csv(pd.io.common.StringIO(CSV)).to_dict("list"))),
    ],
    ids="csv bom tsv semicolons gz records columns".split(),
)
def test_one_table_in_many_files(tmp_path, name, content):
    runs = read_runs(write(tmp_path / name, content), COLUMNS)
    assert runs["N"].values.tolist() == [1e8, 2e8] and runs["loss"].values.tolist() == [3.1, 2.9]


def test_a_folder_of_records_names_runs_after_files_and_flattens_fields(tmp_path):
    for number in range(3):
        record = {"model": {"params": 1e8 * (number + 1)}, "T": "2B", "loss": 3 - number / 10}
        write(tmp_path / "sweep" / f"r{number}" / "record.json", json.dumps(record))
    curve = [{"model": {"params": 5e8}, "T": T, "loss": 2.5} for T in (4e9, 5e9)]
    write(tmp_path / "sweep" / "long.jsonl", "\n".join(map(json.dumps, curve)))
    runs = read_runs(tmp_path / "sweep", {"N": "model.params"})
    assert runs["run"].values.tolist() == ["long", "r0", "r1", "r2"]
    assert runs.sizes["checkpoint"] == 2
    assert runs["N"].values.tolist() == [5e8, 1e8, 2e8, 3e8]


def test_a_torn_last_line_is_left_out_with_a_note(tmp_path):
    lines = '{"N": 1e8, "T": 2e9, "loss": 3.0}\n{"N": 1e8, "T": 3e9, "lo'
    runs = read_runs(write(tmp_path / "t.jsonl", lines))
    assert runs.sizes["run"] == 1
    assert json.loads(runs.attrs["notes"]) == [
        "`t.jsonl`: line 2, the last, is torn and was left out."
    ]


def test_a_mapping_file_stands_in_for_arguments_and_arguments_win(tmp_path):
    path = write(tmp_path / "a.csv", CSV.replace("2e9", "2").replace("4e9", "4"))
    toml = '[columns]\nN = "params"\nT = "nonsense"\n[units]\nT = "B"\n'
    mapping = write(tmp_path / "m.toml", toml)
    runs = read_runs(path, {"T": "tokens"}, mapping=mapping)
    assert runs["T"].values.tolist() == [2e9, 4e9]
    mapping = write(tmp_path / "m.json", json.dumps({"columns": {"N": "params", "T": False}}))
    assert "T" not in read_runs(path, mapping=mapping)


def test_row_numbers_of_a_file_are_explained(tmp_path):
    path = write(tmp_path / "a.csv", CSV + "1e8,0,2\n")
    with pytest.raises(DataError, match=r"1 problem in `a.csv`") as caught:
        read_runs(path, COLUMNS)
    assert "row 2: 0" in str(caught.value)
    assert "Row 0 is the first line below the header." in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", "x", r"end in `.xlsx` are not understood. Expected `.csv`"),
        ("a.csv", "", r"`a.csv` is empty \(0 bytes\)"),
        ("a.csv", "params,tokens\n", r"`a.csv` has no rows \(columns `params`, `tokens`\)"),
        ("a.csv", CSV + "1,2,3,4\n", r"Expected 3 fields in line 4, saw 4"),
        ("a.csv", CSV.replace("1\n", "1,\n").replace("9\n", "9,\n"), "more cells than the header"),
        ("a.csv", "loss,loss\n1,2\n", "names must be unique, but `loss` occurs more than once"),
        ("a.csv", "params\né\n".encode("latin1"), r"not UTF-8 text: byte 0xe9 in line 2"),
        ("a.csv.gz", b"plain", "cannot be unpacked"),
        ("a.jsonl", "\n \n", "holds no record"),
        ("a.jsonl", '{"N": 1\n{"N": 2}\n', r"`a.jsonl`, line 1: no JSON"),
        ("a.jsonl", "[1, 2]\n", r"line 1: a record \(a JSON object\) was expected, not \[1, 2\]"),
        ("a.json", '{"N": 1}\n{"N": 2}', "one record a line is called .jsonl"),
        ("a.parquet", "xx", "no Parquet file that can be read"),
        ("a.nc", "xx", "no netCDF file: it starts with b'xx'"),
        ("a.nc", "CDFxx", "no netCDF file that can be read"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        read_runs(write(tmp_path / name, content), COLUMNS)


def test_a_missing_file_suggests_its_neighbours(tmp_path):
    write(tmp_path / "chinchilla_runs.csv", CSV)
    with pytest.raises(DataError, match=r"Did you mean `chinchilla_runs.csv`"):
        read_runs(tmp_path / "chinchila.csv")
    with pytest.raises(DataError, match=r"that can be read: `chinchilla_runs.csv`"):
        read_runs(tmp_path / "zzz.csv")
    with pytest.raises(DataError, match="There is not even a folder"):
        read_runs(tmp_path / "no" / "where" / "zzz.csv")
    write(tmp_path / "empty" / "readme.txt", "hello")
    with pytest.raises(DataError, match=r"holds no record(.|\n)*It holds `readme.txt`"):
        read_runs(tmp_path / "empty")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[colums]\n", "`m.toml` has `colums`; did you mean `columns`"),
        ("N = params", "no TOML that can be read"),
        ('columns = "N"', "`columns` must be a table of names"),
    ],
)
def test_a_bad_mapping_file_says_why(tmp_path, content, message):
    path = write(tmp_path / "a.csv", CSV)
    with pytest.raises(SpecError, match=message):
        read_runs(path, mapping=write(tmp_path / "m.toml", content))
    with pytest.raises(SpecError, match="There is no mapping file"):
        read_runs(path, mapping=tmp_path / "nothing.toml")
