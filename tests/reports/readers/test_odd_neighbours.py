"""One odd file among good runs is listed with its reason, and the good runs are reported: no crash, no hang."""

from __future__ import annotations

import gzip
import json
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ipv_bench.cli import run as command
from reports.readers.registry import read_sources
from reports.scores.checks import check
from reports.scores.score_table import tidy
from tests.reports.readers.small_logs import write

HEADER = "method,suite,task,seed,step,score\n"
GOOD = HEADER + "".join(
    f"{method},dmc,walker_run,{seed},{step},{step + seed}\n"
    for method in ("a", "b")
    for seed in range(5)
    for step in (0, 10, 20)
)
RECORD = {"format": 1, "kind": "finetune", "method": "x", "seed": 0, "suite": "dmc", "task": "walker_run",
          "preset": "p", "config": {}}  # fmt: skip
EVALUATION = '{"env_steps": 1, "returns": [1.0], "successes": []}\n'
DEEP = "[" * 50_000
DIGITS = "9" * 5000
LOG = '{"step": 1, "eval_return": 2.0}\n'

EVALUATIONS = {
    "null": "null\n", "null behind": EVALUATION + "null\n", "a list": "[]\n", "a text": '"x"\n',
    "zeros": "\0" * 999 + "\n",
    "no steps": '{"env_steps": null, "returns": null}\n', "texts": '{"env_steps": 1, "returns": ["a"]}\n',
    "nested": '{"env_steps": 1, "returns": [[1]]}\n', "deep": f'{{"env_steps": 1, "returns": {DEEP}\n',
    "deeper": DEEP + "\n",
    "digits": f'{{"env_steps": {DIGITS}, "returns": [1]}}\n', "huge": '{"env_steps": 1, "returns": [1e308, 1e308]}\n',
    "empty": "", "latin": '{"env_steps": 1, "returns": [1], "note": "\xff"}\n',
    "true": '{"env_steps": true, "returns": [true]}\n',
}  # fmt: skip
RECORDS = {
    "null": "null", "list": "[]", "empty": "", "no object": "{}", "deep": DEEP, "digits": f'{{"format": {DIGITS}}}',
    "data": json.dumps({**RECORD, "pretraining": {"data": 5}}), "half": json.dumps({**RECORD, "method": "\ud800"}),
    "hostile": json.dumps({**RECORD, "method": "../../x", "task": "<script>\n\0", "seed": 10**30}),
    "nested": json.dumps({**RECORD, "config": json.loads('{"a":' * 200 + "1" + "}" * 200)}),
    "pretrain": json.dumps({**RECORD, "kind": "pretrain"}),
}  # fmt: skip
CONFIGS = {
    "self": "a: &x\n  b: *x\n", "deep": DEEP, "tag": "!!python/object/apply:os.mkdir [tagged]", "zeros": "\0\0",
    "lists": "task: [1]\nseed: {a: 1}\n", "large": "x" * 600_000,
    "laughs": "a: &a [1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n"
              "d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d]\n",
}  # fmt: skip
TABLES = {
    "zeros": "\0" * 99, "short row": HEADER + "a,dmc,w,0,1\n", "no seed": HEADER + "a,dmc,w,,1,1\n",
    "digits": HEADER + f"a,dmc,w,0,1,{DIGITS}\n", "quotes": HEADER + '"' * 999,
    "formula": HEADER + "=1+1,dmc,@x,0,1,1\n",
    "wide": "," * 50_000 + "\n", "long": HEADER + "x" * 200_000 + ",dmc,w,0,1,1\n",
    "twice": "method,method,task,seed,step,score\n",
    "empty": "", "hash": "#\n", "not gzip": "\x1f\x8b\x08", "word": "step,reward,seed\nx,1,0\n",
    "export": '"Step","r - m","r - m__MIN","r - m__MAX"\n"a","b","c","d"\n', "log": "step,episode_reward\n1,\n",
}  # fmt: skip
SCORES = {
    "null": "null", "nulls": '[{"task": null, "method": null, "seed": null, "xs": null, "ys": null}]', "deep": DEEP,
    "lists": '[{"task": "a", "method": "m", "seed": 0, "xs": [[1]], "ys": [[2]]}]',
    "digits": f'[{{"task": "a", "method": "m", "seed": 0, "xs": [{DIGITS}], "ys": [1]}}]',
    "objects": '[{"task": {}, "method": [], "seed": {}, "xs": [1], "ys": [2]}]',
}  # fmt: skip


def write_all(root: Path) -> None:
    write(root / "good.csv", GOOD)
    for name, text in EVALUATIONS.items():
        write(root / "log" / name / "run.json", json.dumps(RECORD))
        write(root / "log" / name / "evaluations.jsonl", text, "latin-1" if name == "latin" else "utf-8")
    for name, text in RECORDS.items():
        write(root / "record" / name / "run.json", text)
        write(root / "record" / name / "evaluations.jsonl", EVALUATION)
        write(root / "record" / name / "metrics.jsonl", 'null\n{"updates": null}\n')
    for name, text in CONFIGS.items():
        for number, file in enumerate(("config.yaml", "run_fields.yaml")):
            write(root / "dmc_walker_run" / f"{name}{number}" / "0" / "metrics.jsonl", LOG)
            write(root / "dmc_walker_run" / f"{name}{number}" / "0" / file, text)
    for name, text in TABLES.items():
        write(root / "table" / name / "table.csv", text)
        (root / "table" / name / "packed.csv.gz").write_bytes(gzip.compress(text.encode()))
    for name, text in SCORES.items():
        write(root / "scores" / name / "s-m.json", text)
        write(root / "scores" / name / "result.json", '{"training_iteration": 1, "x": ' + text + "}\n")
        (root / "scores" / name / "s-n.json.gz").write_bytes(gzip.compress(text.encode())[:-1])
    damaged = {
        "cut": b"\0" * 11,
        "long": struct.pack("<Q", 1 << 62) + bytes(99),
        "noise": bytes(range(256)) * 9,
    }
    for name, data in damaged.items():
        (root / "dmc_walker_run" / f"events {name}" / "0").mkdir(parents=True)
        (root / "dmc_walker_run" / f"events {name}" / "0" / "events.out.tfevents.1.x").write_bytes(data)
    huge = (
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,), }".ljust(127) + b"\n"
    )
    with zipfile.ZipFile(root / "evaluations.npz", "w") as archive:
        archive.writestr("timesteps.npy", huge)
        archive.writestr("results.npy", huge)
    np.savez(root / "evaluations_2.npz", timesteps=np.zeros((2, 2)), results=np.array(["a"]))
    write(root / "monitors" / "monitor.csv", "#" + DEEP + "\nr,l,t\n1,2,3\n")
    os.mkfifo(root / "pipe.csv")
    os.mkfifo(root / "dmc_walker_run" / "metrics.jsonl")
    os.symlink("/dev/zero", root / "zero.csv")
    os.symlink("/nowhere", root / "dead.csv")
    os.symlink(root, root / "round")
    (root / "folder" / "metrics.jsonl").mkdir(parents=True)
    (root / os.fsdecode(b"\xff\xfe.csv")).write_bytes(GOOD.replace("\na,", "\nc,").replace("\nb,", "\nd,").encode())


def test_odd_files_among_good_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_all(tmp_path / "runs")
    found = check(read_sources(["runs"]))
    good = {run.name: run.num_points for run in found.runs if run.source.endswith("good.csv")}
    assert good == {f"dmc/walker_run/{method}/seed{seed}": 3 for method in ("a", "b") for seed in range(5)}
    reasons = {file.path.removeprefix("runs/"): file.reason for file in found.unknown}
    assert all(reasons.values())
    assert reasons["pipe.csv"] == "no plain file"
    assert reasons["zero.csv"] == "no plain file"
    assert reasons["dead.csv"] == "a link to nothing"
    assert "not followed" in reasons["round"]
    for name in ("null", "a list", "a text", "no steps", "deep", "digits", "latin"):
        assert "line 1" in reasons[f"log/{name}"], name
    for name in ("null", "list", "empty", "no object", "deep", "digits", "data", "nested"):
        assert f"record/{name}" in reasons, name
    assert "GiB" in reasons["evaluations.npz"] or "bytes" in reasons["evaluations.npz"]
    assert not (tmp_path / "tagged").exists()
    tidy(found.runs)
    for text in (run.name for run in found.runs):
        text.encode()
        assert text.isprintable()


def test_the_report_of_good_runs_beside_odd_ones_is_written(tmp_path: Path) -> None:
    write(tmp_path / "runs" / "good.csv", GOOD)
    write(tmp_path / "runs" / "x" / "run.json", json.dumps(RECORD))
    write(tmp_path / "runs" / "x" / "evaluations.jsonl", "null\n")
    (tmp_path / "runs" / os.fsdecode(b"\xff.csv")).write_bytes(b"\xff")
    write(tmp_path / "runs" / "hostile" / "run.json", RECORDS["hostile"])
    write(tmp_path / "runs" / "hostile" / "evaluations.jsonl", EVALUATION)
    out = tmp_path / "report"
    assert command(["report", str(tmp_path / "runs"), "--out", str(out), "--resamples", "50", "--quiet"]) == 0
    written = json.loads((out / "report.json").read_text())
    assert any("no object" in one["reason"] or "null" in one["reason"] for one in written["unknown_files"])
    assert sorted(tmp_path.iterdir()) == [out, tmp_path / "runs"]


def test_several_named_files_with_an_odd_one(tmp_path: Path) -> None:
    good = write(tmp_path / "good.csv", GOOD)
    odd = write(tmp_path / "odd.csv", HEADER + "a,dmc,w\n")
    found = read_sources([good, odd])
    assert len(found.runs) == 10
    assert [file.path for file in found.unknown] == [str(odd)]
