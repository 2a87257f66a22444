"""Many workers equal one, to the last bit: on processes, on a Dask cluster, when they are killed, and beside another run."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest
from helpers import contents, stamps

from asdkit.apps.cli import main
from asdkit.experiments import parallel, runs
from asdkit.recordings import InputError

ROOT = Path(__file__).parent.parent
NAMES = ["asdkit", "ridge"]
SEEDS = (0, 1)
N_RESULTS = 2 * len(NAMES) * len(SEEDS)
# Killed workers leave sockets and event loops of `distributed` to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def results_in(out: Path) -> dict[Path, int]:
    return stamps(out, "*/results/*.json")


@pytest.fixture(scope="module")
def config(tiny_config):
    return replace(tiny_config, blocks=("msm", "statistics"), width=16, test_hop=40)


@pytest.fixture(scope="module")
def serial(tiny_data, config, tmp_path_factory):
    out = tmp_path_factory.mktemp("serial") / "out"
    runs.run(tiny_data, out, config, NAMES, SEEDS)
    assert len(results_in(out)) == N_RESULTS
    return contents(out)


@pytest.fixture
def command(tiny_data, config, tmp_path):
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(config.to_dict()))
    line = [sys.executable, "-m", "asdkit", "run", str(tiny_data), "--config", str(path), "--systems", *NAMES]
    line += ["--seeds", *map(str, SEEDS)]

    def start(out, log):
        with log.open("w") as printed:
            return subprocess.Popen([*line, "--out", str(out)], cwd=ROOT, stdout=printed, stderr=subprocess.STDOUT), log

    return start


@pytest.fixture(scope="module")
def cluster():
    from distributed import LocalCluster

    options = dict(n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0")
    with LocalCluster(**options, silence_logs=50) as cluster:
        yield cluster


def kill_once(out: Path, victims) -> tuple[threading.Thread, list[int]]:
    killed = []

    def watch():
        while not results_in(out):
            time.sleep(0.01)
        killed.append(victims()[0])
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread, killed


def loky_workers() -> list[int]:
    found = psutil.Process().children(recursive=True)
    return [p.pid for p in found if any("popen_loky" in word for word in p.cmdline())]


@pytest.mark.slow
def test_a_killed_process_is_an_error_and_the_run_continues(serial, tiny_data, config, tmp_path):
    thread, _ = kill_once(tmp_path, loky_workers)
    with pytest.raises(InputError, match="found one that was killed"):
        runs.run(tiny_data, tmp_path, config, NAMES, SEEDS, jobs=2)
    thread.join()
    written = results_in(tmp_path)
    assert written
    runs.run(tiny_data, tmp_path, config, NAMES, SEEDS, jobs=2)
    assert contents(tmp_path) == serial and written.items() <= results_in(tmp_path).items()


@pytest.mark.slow
def test_a_killed_worker_of_a_cluster_loses_nothing(serial, cluster, tiny_data, config, tmp_path, monkeypatch):
    thread, killed = kill_once(tmp_path, lambda: [worker.pid for worker in cluster.workers.values()])
    monkeypatch.chdir(tiny_data)  # workers have folders of their own
    runs.run(".", tmp_path, config, NAMES, SEEDS, scheduler=cluster.scheduler_address)
    thread.join()
    assert killed and killed[0] not in [worker.pid for worker in cluster.workers.values()]
    assert contents(tmp_path) == serial


def test_bad_input_and_a_task_that_kills_every_worker_are_errors_not_a_wait(cluster, tmp_path, capsys, monkeypatch):
    clip = tmp_path / "data/pump/train/section_00_source_train_normal_0000.wav"
    clip.parent.mkdir(parents=True)
    clip.write_text("not a recording")
    clip.with_name("section_00_source_train_normal_0001.wav").write_text("nor this")
    line = ["run", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--systems", "log-mel"]
    assert main([*line, "--scheduler", cluster.scheduler_address]) == 2
    assert f"asdkit: error: {clip}: " in capsys.readouterr().err
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)  # elsewhere Dask tries it on other workers first
    with parallel.workers(scheduler=cluster.scheduler_address) as spread:
        with pytest.raises(InputError, match="found one that was killed"):
            list(spread([partial(signal.raise_signal, signal.SIGKILL)]))


@pytest.mark.slow
def test_a_run_waits_for_another_and_continues_it_when_that_is_killed(serial, command, tmp_path):
    out, waiting = tmp_path / "out", ()
    both = [command(out, tmp_path / f"{i}.log") for i in range(2)]

    def until(condition):
        while not condition():
            assert all(run.poll() is None for run, _ in both), [log.read_text() for _, log in both]
            time.sleep(0.01)

    def waits():
        nonlocal waiting
        waiting = [(run, log) for run, log in both if "another run is writing there; waiting until it ends" in log.read_text()]
        return waiting

    until(waits)
    ((second, log),) = waiting
    (first,) = (run for run, _ in both if run is not second)
    until(lambda: len(results_in(out)) > os.getpid() % (N_RESULTS // 2))  # killed elsewhere every time
    for draft in ("models/.asdkit-0-abc/model.json", "results/.log-mel-0.json-abc"):
        (out / "valve" / draft).parent.mkdir(parents=True, exist_ok=True)
        (out / "valve" / draft).touch()
    first.kill()
    first.wait()
    written = results_in(out)
    assert second.wait() == 0, log.read_text()
    assert contents(out) == serial and written.items() <= results_in(out).items()
    assert f" {N_RESULTS - len(written)} results to compute" in log.read_text() and 0 < len(written) < N_RESULTS
    assert not [p for p in out.rglob(".*")]


def test_no_scheduler_no_worker_no_package(tmp_path, monkeypatch):
    from distributed import LocalCluster

    monkeypatch.setattr(parallel, "TIMEOUT", 0.5)
    options = dict(host="127.0.0.1", dashboard_address="127.0.0.1:0", protocol="tcp")

    def refused(address, says):
        with pytest.raises(InputError, match=says):
            runs.run_systems([], tmp_path / "out", {}, scheduler=address)

    with LocalCluster(n_workers=0, processes=False, **options) as empty:
        refused(empty.scheduler_address, "found .*0/1 workers.* expected .* a scheduler that answers and has a worker in 0.5 s")
    refused("tcp://127.0.0.1:9", "expected .* a scheduler that answers")
    refused("nonsense://here", "expected .* a scheduler")
    monkeypatch.setitem(sys.modules, "distributed", None)
    refused("tcp://127.0.0.1:9", "expected the extra `dask`")
    assert not (tmp_path / "out").exists()
