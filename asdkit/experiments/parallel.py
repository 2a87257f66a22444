"""Spread tasks over the processes of this computer, or over the workers of a Dask cluster.

A task is called without arguments and is a generator of its steps. It may be run again after its worker was killed.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from asdkit.recordings import InputError

TIMEOUT = 5.0  # seconds in which a scheduler answers, and then has a worker
KILLED = "workers: found one that was killed, expected memory for all; what is written stays, and the same command continues it"
worker_lock = threading.Lock()  # the threads of one Dask worker take turns: torch's random state belongs to the process

Task = Callable[[], Iterator]


@contextmanager
def workers(jobs: int = 1, scheduler: str | None = None) -> Iterator[Callable[[Iterable[Task]], Iterator[int]]]:
    """A function that runs tasks; it yields how many steps are newly done, in whatever order.

    `jobs` are processes on this computer, 1 is this very process. In their place come the workers of the Dask `scheduler`, an
    address; it gives the task of a killed worker to another one, up to its setting ``allowed-failures``. An InputError where
    Dask is not installed, no scheduler with a worker answers, a process was killed, or Dask gave up.
    """
    with ExitStack() as stack:
        if scheduler is None:
            yield partial(_on_processes, jobs) if jobs > 1 else lambda tasks: (1 for task in tasks for _ in task())
            return
        try:
            from distributed import Client

            client = stack.enter_context(Client(scheduler, timeout=TIMEOUT, set_as_default=False))
            client.wait_for_workers(1, timeout=TIMEOUT)
        except (ImportError, OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            expected = f"expected the extra `dask` of asdkit, and a scheduler that answers and has a worker in {TIMEOUT:g} s"
            raise InputError(f"scheduler {scheduler}: found {reason}; {expected}") from None
        yield partial(_on_cluster, client)


def _n_steps(task: Task) -> int:
    with worker_lock:
        return sum(1 for _ in task())


def _on_processes(jobs: int, tasks: Iterable[Task]) -> Iterator[int]:
    try:
        yield from Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)(delayed(_n_steps)(t) for t in tasks)
    except TerminatedWorkerError:
        raise InputError(KILLED) from None


def _on_cluster(client, tasks: Iterable[Task]) -> Iterator[int]:
    """With Dask's own futures: joblib's back-end for them waits for ever for a task that Dask has given up."""
    from distributed import CancelledError, KilledWorker, as_completed

    futures = [client.submit(_n_steps, task, pure=False) for task in tasks]
    try:
        yield from (future.result() for future in as_completed(futures, loop=client.loop))
    except (KilledWorker, CancelledError):
        raise InputError(KILLED) from None
    finally:
        client.cancel(futures)
