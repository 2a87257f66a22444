"""Many workers equal one, to the last bit: on processes, on a Dask cluster, when they are killed, and beside another run."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from asdkit import __version__
from asdkit.apps.cli import main
from asdkit.experiments import fanout, results, runs
from asdkit.recordings import InputError

ROOT = Path(__file__).parent.parent
NAMES = ["asdkit", "logmel-near", "ridge-log-mel"]
SEEDS = (0, 1)
N_PARTS = 2 * len(NAMES) * len(SEEDS)
# Killed workers leave sockets and event loops of `distributed` to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def contents(out) -> dict:
    """{(machine, system, seed): everything in a part but the time it took}."""
    return {key: {k: v for k, v in part.items() if k != "seconds"} for key, part in results.read_parts(out).items()}


def parts_in(out: Path) -> list[Path]:
    return sorted(out.glob("*/parts/*.json"))


@pytest.fixture(scope="module")
def serial(tiny_data, tiny_config, tmp_path_factory):
    """Contents of a run in this very process."""
    out = tmp_path_factory.mktemp("serial") / "out"
    runs.run(tiny_data, out, tiny_config, NAMES, SEEDS)
    assert len(parts_in(out)) == N_PARTS
    return contents(out)


@pytest.fixture(scope="module")
def command(tiny_data, tiny_config, tmp_path_factory):
    """``command(out)``: `asdkit run` of the same in a process of its own, not waited for."""
    config = tmp_path_factory.mktemp("config") / "tiny.json"
    config.write_text(json.dumps(tiny_config.to_dict()))
    line = [sys.executable, "-m", "asdkit", "run", str(tiny_data), "--config", str(config), "--systems", *NAMES]
    line += ["--seeds", *map(str, SEEDS)]

    def start(out):
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return subprocess.Popen([*line, "--out", str(out)], cwd=ROOT, **pipes)

    return start


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread each, and a scheduler on loopback."""
    from distributed import LocalCluster

    options = dict(n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0")
    with LocalCluster(**options, silence_logs=50) as cluster:
        yield cluster


def kill_once(out: Path, victims) -> tuple[threading.Thread, list[int]]:
    """Kill, outright, one of ``victims()`` as soon as the first part is written. The list says which."""
    killed = []

    def watch():
        while not parts_in(out):
            time.sleep(0.01)
        killed.append(victims()[0])
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread, killed


def loky_workers() -> list[int]:
    found = psutil.Process().children(recursive=True)
    return [p.pid for p in found if any("popen_loky" in word for word in p.cmdline())]


def test_a_killed_process_loses_nothing(serial, tiny_data, tiny_config, tmp_path, caplog):
    thread, _ = kill_once(tmp_path, loky_workers)
    runs.run(tiny_data, tmp_path, tiny_config, NAMES, SEEDS, jobs=2)
    thread.join()
    assert "a worker was killed" in caplog.text
    assert contents(tmp_path) == serial


def test_a_killed_worker_of_a_cluster_loses_nothing(serial, cluster, tiny_data, tiny_config, tmp_path, monkeypatch):
    thread, killed = kill_once(tmp_path, lambda: [worker.pid for worker in cluster.workers.values()])
    monkeypatch.chdir(tiny_data)  # workers have folders of their own
    runs.run(".", tmp_path, tiny_config, NAMES, SEEDS, scheduler=cluster.scheduler_address)
    thread.join()
    assert killed and killed[0] not in [worker.pid for worker in cluster.workers.values()]
    assert contents(tmp_path) == serial


@pytest.mark.parametrize("where", ["processes", "cluster"])
def test_a_task_that_kills_its_worker_is_an_error_not_a_wait(cluster, where, monkeypatch):
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)  # elsewhere Dask tries it on other workers first
    with fanout.open_pool(2, cluster.scheduler_address if where == "cluster" else None) as pool:
        with pytest.raises(fanout.WorkerDied):
            list(pool([partial(signal.raise_signal, signal.SIGKILL)]))


def test_bad_input_is_one_line_from_a_worker_too(cluster, tmp_path, capsys):
    clip = tmp_path / "data/pump/train/section_00_source_train_normal_0000.wav"
    clip.parent.mkdir(parents=True)
    clip.write_text("not a recording")
    clip.with_name("section_00_source_train_normal_0001.wav").write_text("nor this")
    line = ["run", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--systems", "logmel-near"]
    assert main([*line, "--scheduler", cluster.scheduler_address]) == 2
    assert f"asdkit: error: {clip}: " in capsys.readouterr().err


def test_two_runs_share_one_folder(serial, command, tmp_path):
    both = [command(tmp_path) for _ in range(2)]
    printed = [run.communicate()[0] for run in both]
    assert [run.returncode for run in both] == [0, 0], printed
    assert contents(tmp_path) == serial
    tables = [[line for line in text.splitlines() if line.startswith(tuple(NAMES))] for text in printed]
    assert tables[0] == tables[1] and len(tables[0]) == len(NAMES)
    assert not [p for p in tmp_path.rglob(".*")]


def test_a_run_killed_anywhere_continues(serial, command, tiny_data, tiny_config, tmp_path):
    run = command(tmp_path)
    n = os.getpid() % (N_PARTS // 2) + 1  # another one every time
    while len(parts_in(tmp_path)) < n:
        assert run.poll() is None, run.communicate()
        time.sleep(0.01)
    run.kill()
    run.communicate()
    written = {p: p.stat().st_mtime_ns for p in parts_in(tmp_path)}
    assert n <= len(written) < N_PARTS
    runs.run(tiny_data, tmp_path, tiny_config, NAMES, SEEDS)
    assert contents(tmp_path) == serial
    assert {p: p.stat().st_mtime_ns for p in written} == written  # nothing is computed twice
    assert not [p for p in tmp_path.rglob(".*")]


def test_what_a_killed_run_left_half_written_is_swept_away(tiny_data, tiny_config, tmp_path):
    left = [tmp_path / "valve" / name for name in ("models/.logmel-near-0-abc/model.json", "parts/.logmel-near-0.json-abc")]
    other = tmp_path / "valve/models/.logmel-near-10-abc/model.json"
    for path in (*left, other):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "run.json").write_text(json.dumps({"asdkit": __version__, "quick": False}))
    runs.run(tiny_data, tmp_path, tiny_config, ["logmel-near"], machines=["valve"])
    assert len(parts_in(tmp_path)) == 1
    assert [p.exists() for p in (*left, other)] == [False, False, True]


# the parts of it


def test_a_claim_excludes_other_processes_and_dies_with_its_owner(tmp_path):
    path = tmp_path / "locks" / "0"
    code = "import sys; from pathlib import Path; from asdkit.experiments.fanout import claim\n"
    code += "with claim(Path(sys.argv[1])) as free: print(free, flush=True); input()"
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    owner = subprocess.Popen([sys.executable, "-c", code, path], cwd=ROOT, **pipes)
    assert owner.stdout.readline() == "True\n"
    with fanout.claim(path) as free:
        assert not free
    owner.kill()
    owner.communicate()
    for _ in range(2):
        with fanout.claim(path) as free:
            assert free


def test_what_another_run_computes_is_waited_for(monkeypatch):
    slept, left = [], [["a", "b"], ["a", "b"], ["a", "b"], []]
    monkeypatch.setattr(fanout, "sleep", slept.append)
    fanout.complete(lambda: left.pop(0), lambda left: [], fanout._here)
    assert slept == [fanout.POLL, fanout.POLL] and not left


def _dies(progress, tasks):
    progress()
    yield
    raise fanout.WorkerDied("killed")


@pytest.mark.parametrize("n_written", [0, 5])
def test_workers_may_die_a_few_times_in_a_row_but_not_forever(n_written):
    left, rounds = list(range(10)), []

    def progress():
        rounds.append(len(left))
        if len(rounds) <= n_written:
            left.pop()

    with pytest.raises(InputError, match="found one killed 3 times in a row"):
        fanout.complete(lambda: list(left), lambda left: left, partial(_dies, progress))
    assert len(rounds) == n_written + fanout.TRIES


def test_no_scheduler_no_worker_no_package(tmp_path, monkeypatch):
    from distributed import Scheduler  # noqa: F401  imported before it is hidden

    monkeypatch.setattr(fanout, "REACH", 0.5)
    run = partial(runs.run_systems, [], tmp_path / "out", {})
    with pytest.raises(InputError, match="expected a Dask scheduler that answers in 0.5 s"):
        run(scheduler="tcp://127.0.0.1:9")
    with pytest.raises(InputError, match="expected a Dask scheduler"):
        run(scheduler="nonsense://here")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match="expected the extra `dask`"):
        run(scheduler="tcp://127.0.0.1:9")
    assert not (tmp_path / "out").exists()


def test_a_cluster_without_workers_is_refused(tmp_path, monkeypatch):
    from distributed import LocalCluster

    monkeypatch.setattr(fanout, "REACH", 0.5)
    with LocalCluster(n_workers=0, processes=False, host="127.0.0.1", dashboard_address="127.0.0.1:0", protocol="tcp") as empty:
        with pytest.raises(InputError, match="found no worker in 0.5 s"):
            runs.run_systems([], tmp_path / "out", {}, scheduler=empty.scheduler_address)


def test_jobs_and_scheduler_exclude_each_other(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", "data", "--out", "out", "--jobs", "2", "--scheduler", "tcp://127.0.0.1:9"])
    assert stop.value.code == 2
    assert "not allowed with" in capsys.readouterr().err
