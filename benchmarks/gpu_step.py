"""Updates at the paper's sizes on a GPU: every arithmetic of ours beside the published settings' form, in one run.

    python benchmarks/gpu_step.py --out gpu_step.json                all cases and forms on a CUDA device, 6 minutes
    python benchmarks/gpu_step.py --quick --device cpu --out x.json  tiny sizes: shows that it runs, measures nothing

Cases: pre-training (ContextWM, and the vanilla model of APV) at 16x25 and 64x25 frames, fine-tuning at Meta-world's
50x50 and DMC Remastered's 16x50. Batches are synthetic tensors of the real shapes that already lie in the device's
memory: no decoding, no upload (`upload_ms` says what the latter costs). Optimisers are included.

Forms: `plain_fp16`, the baseline, is `plain_reading.py`: the published order of operations, eager, with fp16 autocast
and a loss scale as published. Ours: `fp32`, `tf32`, `bf16`, each also as a CUDA graph, compiled, and both.

Milliseconds per update: the median over the updates after the warm-up, each between two device synchronisations, with
5th and 95th percentile. Share of peak: products and convolutions of one eager update, counted by torch's
FlopCounterMode, over time and the card's dense bf16 peak (data sheet; `matmul_tflops` is what a large product reaches
in this run). Losses: 20 updates of every form of ours from the weights, batches and draws of fp32's; the first loss and
the mean of all must agree within TOLERANCE.

Everything runs in a second process, each form has a time limit, and the results are written after each form: what is
cut short, or falls over, loses nothing that is finished, and the other forms go on. (cuDNN tries all its kernels in a
form's first update: 50 s at 50x50 in fp32.)
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from gpu_step_cases import CASES, Case
from torch.utils.flop_counter import FlopCounterMode

FORMS: dict[str, dict[str, Any]] = {
    "plain_fp16": {},
    "fp32": {"precision": "fp32"},
    "tf32": {"precision": "fp32", "tf32": True, "round": 2},
    "bf16": {"precision": "bf16"},
    "bf16_graph": {"precision": "bf16", "cuda_graph": True},
    "fp32_graph": {"precision": "fp32", "cuda_graph": True, "round": 2},
    "bf16_compile": {"precision": "bf16", "compile": True, "round": 1},
    "bf16_compile_graph": {"precision": "bf16", "compile": True, "cuda_graph": True, "round": 1},
}
"""`round`: forms of a higher one come after those of all cases; if time ends, they are what is missing."""
TOLERANCE = {"fp32": (1e-4, 0.1), "tf32": (2e-3, 0.1), "bf16": (1e-2, 0.1)}
"""Largest relative difference to fp32's loss, by arithmetic: of the first update, and of the mean of EQUAL_UPDATES. The
first is the arithmetic's own. The paths part after it whatever the arithmetic is, since a latent that falls the other
way by rounding changes all that follows: two fp32 runs whose kernels add in another order were 5 % apart (vanilla)."""
EQUAL_UPDATES = 20
PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40": 362.0, "4090": 165.0}
"""Dense bf16, by the makers' data sheets."""


def wait(device: torch.device) -> None:
    """Until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(update: Callable[[int], Any], device: torch.device, repeats: int, until: float) -> dict[str, Any]:
    """Milliseconds of `repeats` updates, or of as many as end before `until` (monotonic seconds), but at least 5."""
    times: list[float] = []
    for number in range(repeats):
        if len(times) >= min(5, repeats) and time.monotonic() > until:
            break
        wait(device)
        before = time.perf_counter()
        update(number)
        wait(device)
        times.append((time.perf_counter() - before) * 1000)
    ordered = sorted(times)
    return {
        "ms": round(statistics.median(times), 3),
        "ms_p05": round(ordered[len(ordered) // 20], 3),
        "ms_p95": round(ordered[-1 - len(ordered) // 20], 3),
        "updates": len(times),
    }


def measure(case: Case, name: str, repeats: int, seconds: float, reference: list[float]) -> dict[str, Any]:
    """One form of a case: losses, times, memory. `reference`: fp32's losses, filled in by that form."""
    device, started = case.device, time.monotonic()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    found: dict[str, Any] = {}
    if name == "plain_fp16":
        update: Callable[[int], Any] = case.plain()
        for number in range(1 if case.quick else 5):
            update(number)
    else:
        made = case.ours(FORMS[name])
        update = lambda number: case.update(made, number)  # noqa: E731
        losses = [case.update(made, 0)]
        wait(device)
        found["first_update_s"] = round(time.monotonic() - started, 1)  # building, compiling, recording
        losses += [case.update(made, number) for number in range(1, 4 if case.quick else EQUAL_UPDATES)]
        found |= compared(name, losses, reference)
    found |= timed(update, device, repeats, started + seconds)
    found["frames_per_s"] = round(case.frames / found["ms"] * 1000, 1)
    if device.type == "cuda":
        found["peak_memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
        found["reserved_memory_gb"] = round(torch.cuda.max_memory_reserved() / 1e9, 2)
    if name == "bf16":
        with FlopCounterMode(display=False) as counter:
            update(0)
        found["update_tflop"] = round(counter.get_total_flops() / 1e12, 4)
        found["kernels_ms"] = kernels_ms(lambda: update(1), device)
    found["seconds"] = round(time.monotonic() - started, 1)
    return found


def kernels_ms(update: Callable[[], Any], device: torch.device, count: int = 14) -> dict[str, float]:
    """Milliseconds of the kernels that take most of an update, by name, and of all; empty away from CUDA."""
    if device.type != "cuda":
        return {}
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        update()
        wait(device)
    times = {event.key[:90]: event.self_device_time_total / 1000 for event in profile.key_averages()}
    largest = sorted(times.items(), key=lambda item: -item[1])[:count]
    return {name: round(ms, 3) for name, ms in (*largest, ("all", sum(times.values())))}


def compared(name: str, losses: list[float], reference: list[float]) -> dict[str, Any]:
    """How far the losses are from fp32's; those become the reference when they come."""
    if name == "fp32":
        reference.extend(losses)
    found: dict[str, Any] = {"losses": [round(loss, 5) for loss in losses]}
    if len(reference) == len(losses):
        first = abs(losses[0] / reference[0] - 1)
        mean = abs(sum(losses) / sum(reference) - 1)
        limits = TOLERANCE[name.partition("_")[0]]
        found |= {"loss_difference": [float(f"{first:.2e}"), float(f"{mean:.2e}")], "tolerance": limits}
        found["equal"] = first <= limits[0] and mean <= limits[1]
    return found


def run_jobs(options: argparse.Namespace) -> None:
    """Forms of cases, in this process; a line of JSON after each."""
    device, case = torch.device(options.device), None
    references: dict[str, list[float]] = json.loads(options.references)
    for job in options.jobs.split(","):
        name, form = job.split(":")
        if case is None or case.name != name:
            case = Case(name, device, quick=options.quick)
        broken = False
        try:
            found = measure(case, form, options.repeats, options.form_seconds, references.setdefault(name, []))
        except Exception as error:  # noqa: BLE001 (one form's failure is a result too)
            found = {"error": f"{type(error).__name__}: {str(error)[:600]}"}
            broken = is_broken(device)
        print(json.dumps({"case": name, "form": form, **found}), flush=True)
        if broken:
            sys.exit("the device is of no use to this process any more")
        gc.collect()
        if device.type == "cuda":
            torch.compiler.reset()
            torch.cuda.empty_cache()


def is_broken(device: torch.device) -> bool:
    """Whether an error has spoilt the device for this process."""
    try:
        torch.ones(1, device=device).sum().item()
    except RuntimeError:
        return True
    return False


def upload_ms(shape: tuple[int, int], device: torch.device) -> float:
    """Milliseconds of bringing one batch of frames from pageable memory to the device."""
    frames = torch.zeros(*shape, 64, 64, 3, dtype=torch.uint8)
    found = timed(lambda _: frames.to(device), device, 20, time.monotonic() + 5)
    return float(found["ms"])


def matmul_tflops(device: torch.device) -> float:
    """What a large bf16 product reaches here, in TFLOP/s."""
    size = 8192
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = float(timed(lambda _: a @ b, device, 30, time.monotonic() + 10)["ms"]) / 1000
    return round(2 * size**3 / seconds / 1e12, 1)


def machine(device: torch.device) -> dict[str, Any]:
    """Card, driver, libraries."""
    found: dict[str, Any] = {"torch": torch.__version__, "python": platform.python_version()}
    if device.type == "cuda":
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
        found |= {
            "gpu": torch.cuda.get_device_name(device),
            "driver": driver,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "matmul_tflops": matmul_tflops(device),
            "peak_tflops": next((v for n, v in PEAK_TFLOPS.items() if n in torch.cuda.get_device_name(device)), None),
        }
    return found


def in_processes(options: argparse.Namespace, jobs: list[str], keep: Callable[[dict[str, Any]], None]) -> None:
    """Run jobs ("case:form") in a process of their own; where one dies or hangs, the rest go on in the next.

    Args:
        options: of the command line.
        jobs: in order.
        keep: is handed each form's result.
    """
    end = time.monotonic() + options.total_seconds
    waiting = list(jobs)
    references: dict[str, list[float]] = {}
    while waiting and time.monotonic() < end:
        command = [
            sys.executable, __file__, "--jobs", ",".join(waiting), "--device", options.device,
            "--repeats", str(options.repeats), "--form-seconds", str(options.form_seconds),
            "--references", json.dumps(references), *(["--quick"] if options.quick else []),
        ]  # fmt: skip
        with tempfile.TemporaryFile("w+") as told:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=told, text=True)
            for found in _lines(process, options, end):
                keep(found)
                waiting.pop(0)
                if found["form"] == "fp32" and "losses" in found:
                    references[found["case"]] = found["losses"]
            process.wait()
            told.seek(0)
            tail = " | ".join(told.read().strip().splitlines()[-3:])[-400:]
        if waiting and process.returncode < 0:  # it was ended, or fell over, in this form
            case, form = waiting.pop(0).split(":")
            keep({"case": case, "form": form, "error": f"no result ({process.returncode}): {tail}"})
        elif waiting and process.returncode != 1:
            raise SystemExit(tail)


def _lines(process: subprocess.Popen[str], options: argparse.Namespace, end: float) -> Iterator[dict[str, Any]]:
    """What a process finds, as it comes; it is killed when a form takes too long, or all of them."""
    assert process.stdout is not None
    patience = options.start_seconds + options.hard_seconds
    while True:
        timer = threading.Timer(max(0.1, min(patience, end - time.monotonic())), process.kill)
        timer.start()
        line = process.stdout.readline()
        timer.cancel()
        if not line:
            return
        patience = options.hard_seconds
        if line.startswith("{"):
            yield json.loads(line)


def summary(results: list[dict[str, Any]], peak: float | None) -> list[dict[str, Any]]:
    """Each result with its ratio to the baseline of its case, and its share of the card's peak."""
    plain = {found["case"]: found["ms"] for found in results if found["form"] == "plain_fp16" and "ms" in found}
    work = {found["case"]: found["update_tflop"] for found in results if "update_tflop" in found}
    rows = []
    for found in results:
        row, case = dict(found), found["case"]
        if "ms" in found and case in plain:
            row["times_baseline"] = round(plain[case] / found["ms"], 2)
        if "ms" in found and case in work and found["form"] != "plain_fp16":
            row["tflops"] = round(work[case] / found["ms"] * 1000, 1)
            if peak:
                row["share_of_peak"] = round(row["tflops"] / peak, 4)
        rows.append(row)
    return rows


def show(found: dict[str, Any]) -> None:
    """One line for a form."""
    name = f"{found['case']:<26} {found['form']:<20}"
    if "error" in found:
        print(f"{name} {found['error'][:110]}", flush=True)
        return
    more = str(found["loss_difference"]) if "loss_difference" in found else ""
    print(f"{name} {found['ms']:9.2f} ms  {found['ms_p05']:.2f}-{found['ms_p95']:.2f}  {more}", flush=True)


def main() -> None:
    """Measure, print a line per form, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, few repetitions")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", default="gpu_step.json", help="results, written after each form")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--forms", default="")
    parser.add_argument("--repeats", type=int, default=60, help="timed updates of each form")
    parser.add_argument("--form-seconds", type=float, default=15, help="when timing stops, at the latest, if it has 5")
    parser.add_argument("--hard-seconds", type=float, default=150, help="when a form's process is ended")
    parser.add_argument("--start-seconds", type=float, default=60, help="more patience for a process's first form")
    parser.add_argument("--total-seconds", type=float, default=360, help="when everything ends")
    parser.add_argument("--jobs", help=argparse.SUPPRESS)
    parser.add_argument("--references", default="{}", help=argparse.SUPPRESS)
    options = parser.parse_args()
    cuda = options.device.startswith("cuda")
    options.forms = options.forms or ",".join(n for n, form in FORMS.items() if cuda or not form.get("cuda_graph"))
    if options.quick:
        options.repeats = min(options.repeats, 3)
    torch.manual_seed(0)
    if options.jobs:
        run_jobs(options)
        return
    measure_all(options)


def measure_all(options: argparse.Namespace) -> None:
    """All cases, round by round."""
    device = torch.device(options.device)
    results: list[dict[str, Any]] = []
    facts = machine(device)
    facts["upload_ms"] = {f"{b}x{t}": upload_ms((b, t), device) for b, t in ((16, 25), (64, 25), (50, 50))}
    where = {"benchmark": "gpu_step", "command": " ".join(sys.argv), "quick": options.quick, "machine": facts}

    def keep(found: dict[str, Any]) -> None:
        results.append(found)
        show(found)
        shown = where | {"results": summary(results, facts.get("peak_tflops"))}
        Path(options.out).write_text(json.dumps(shown, indent=1) + "\n")

    chosen, cases = options.forms.split(","), options.cases.split(",")
    rounds = ([name for name in chosen if FORMS[name].get("round", 0) == number] for number in range(3))
    in_processes(options, [f"{case}:{form}" for forms in rounds for case in cases for form in forms], keep)
    print(json.dumps(where | {"results": summary(results, facts.get("peak_tflops"))}))


if __name__ == "__main__":
    main()
