"""Spread work over processes or computers. What a killed worker leaves is done again, and nothing is done twice at a time.

Legend
------
task : called without arguments it is a generator that writes files one by one, each whole or not at all.
missing : the names of files that are still to be written. What there is to do is always read from the folder, never from what
    a worker reports. So a worker that died, a second run on the same folder and a run that continues are one and the same.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import sleep

from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from asdkit.recordings import InputError

REACH = 5.0  # seconds in which a scheduler answers, and then has a worker
POLL = 1.0  # seconds between looks at what another run is computing
TRIES = 3  # times in a row that workers may die without having written anything
ALONE = threading.Lock()  # the threads of one Dask worker take turns: torch's random state belongs to the process
log = logging.getLogger("asdkit")

Pool = Callable[[Iterable[Callable]], Iterator]


class WorkerDied(RuntimeError):
    """A process was killed, by hand or for want of memory."""


@contextmanager
def open_pool(jobs: int = 1, scheduler: str | None = None) -> Iterator[Pool]:
    """What runs tasks: a function of many tasks that yields whenever something of them is done.

    Parameters
    ----------
    jobs : int
        Processes on this computer; 1 is this very process.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers are used in place of processes.

    Raises
    ------
    InputError
        Where Dask is not installed, or no scheduler with a worker answers within `REACH` seconds.
    """
    if scheduler is None:
        yield partial(_on_processes, jobs) if jobs > 1 else _here
    else:
        with _connect(scheduler) as client:
            yield partial(_on_cluster, client)


def _connect(address: str):
    """A Dask client of a scheduler that has workers."""
    try:
        from distributed import Client
    except ImportError:
        raise InputError(f"scheduler {address}: found no package distributed, expected the extra `dask` of asdkit") from None
    try:
        client = Client(address, timeout=REACH, set_as_default=False)
    except (OSError, ValueError) as error:
        found = " ".join(str(error).split())
        raise InputError(f"scheduler {address}: found {found}; expected a Dask scheduler that answers in {REACH:g} s") from None
    try:
        client.wait_for_workers(1, timeout=REACH)
    except TimeoutError:
        client.close()
        raise InputError(f"scheduler {address}: found no worker in {REACH:g} s, expected one or more") from None
    return client


def _here(tasks: Iterable[Callable]) -> Iterator:
    for task in tasks:
        yield from task()


def _on_processes(jobs: int, tasks: Iterable[Callable]) -> Iterator:
    spread = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="all")
    try:
        yield from spread(delayed(_finish)(task) for task in tasks)
    except TerminatedWorkerError as error:
        raise WorkerDied(" ".join(str(error).split())) from None


def _on_cluster(client, tasks: Iterable[Callable]) -> Iterator:
    """With Dask's own futures: joblib's back-end for them waits for ever for a task whose workers keep dying."""
    from distributed import CancelledError, KilledWorker, as_completed

    futures = [client.submit(_finish, task, pure=False) for task in tasks]
    try:
        for future in as_completed(futures, loop=client.loop):
            yield future.result()
    except (KilledWorker, CancelledError) as error:  # Dask has tried it on several workers; or has lost its scheduler
        raise WorkerDied(" ".join(str(error).split())) from None
    finally:
        client.cancel(futures)


def _finish(task: Callable) -> None:
    with ALONE:
        for _ in task():
            pass


def complete(missing: Callable[[], list], tasks: Callable[[list], Iterable[Callable]], pool: Pool) -> None:
    """Run tasks until nothing is missing.

    Parameters
    ----------
    missing : callable
        ``missing()`` lists what is to be written still. It is called whenever something of a task is done.
    tasks : callable
        ``tasks(left)`` makes the tasks that write what is left; each passes over what another process has claimed.
    pool : callable
        Of `open_pool`.

    Raises
    ------
    InputError
        When workers have died `TRIES` times in a row and written nothing in between.
    """
    left, deaths, waiting = missing(), 0, False
    while left:
        died, before = None, len(left)
        try:
            for _ in pool(tasks(left)):
                missing()
        except WorkerDied as error:
            died = error
        left = missing()
        deaths = deaths + 1 if died and len(left) == before else 0
        if deaths == TRIES:
            raise InputError(f"workers: found one killed {TRIES} times in a row, expected memory for all of them ({died})")
        if died:
            log.warning("a worker was killed; %d parts are left to compute", len(left))
        elif left and len(left) == before:
            waiting or log.info("%d parts are being computed by another run: waiting", len(left))
            waiting = True
            sleep(POLL)


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold a lock if it is free, and say whether it was. Its owner's death frees it, on network file systems too."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
