"""Ends all processes of a training together: when one dies, the others end within seconds, and say why.

Each process holds a connection to process 0. When a process dies for any reason, the operating system closes it. So
nothing needs polling, and a busy process is never taken for a dead one. Only DONE or an error sentence is sent over it.
"""

import hashlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence

from utils.errors import ConfigError

DONE = b"done"
ON_EVERY_HOST = (
    "start the launcher on every host with the same --master and --nnodes, and check that the hosts reach each other"
)
GREETING_SECONDS = 5.0  # after which who connects and says nothing is not one of us
LAST_WORDS_SECONDS = 5.0  # that a process which is done waits for the others'
FAILED = 2  # exit status, as the drivers' for an error
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
PARENT = "ZOO_PARENT"  # in the environment: the process id of the parent that must be alive


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the launcher that started it dies (Linux only)."""
    if sys.platform != "linux":
        return
    import ctypes

    parent = int(os.environ.get(PARENT, os.getppid()))
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os.kill(os.getpid(), signal.SIGKILL)


def _greeting(connection, size):
    connection.settimeout(GREETING_SECONDS)
    try:
        return connection.recv(size, socket.MSG_WAITALL)
    except OSError:
        return b""


def _connect(address, deadline):
    while True:
        try:
            return socket.create_connection(address, max(0.1, deadline - time.monotonic()))
        except OSError as error:  # process 0 may not be there yet
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"process 0 does not answer at '{address[0]}:{address[1]}' ({error}); {ON_EVERY_HOST}"
                ) from error
        time.sleep(0.2)


class Lifeline:
    """The connection of process `rank` of `world` processes to process 0.

    `endpoints` are the processes' addresses ("host:port"); they meet at the first one. Raises ConfigError if not all
    processes connect in time.
    """

    def __init__(self, rank: int, world: int, endpoints: Sequence[str], seconds: float):
        self.rank, self.world = rank, world
        self.names, self.said = {}, {}  # of each connection: its process, and what has come from it
        host, _, port = endpoints[0].rpartition(":")
        job = hashlib.sha256(",".join(endpoints).encode()).hexdigest().encode()  # tells ours from what else may connect
        if rank == 0:
            with socket.create_server((host, int(port)), backlog=world) as server:
                self._accept(server, job, time.monotonic() + seconds)
        else:
            connection = _connect((host, int(port)), time.monotonic() + seconds)
            connection.sendall(job + f"{rank:08d}".encode())
            self._watch_over(connection, 0)
        self.done = False
        self.watcher = threading.Thread(target=self._watch, name="lifeline", daemon=True)
        self.watcher.start()

    def _accept(self, server, job, deadline):
        while len(self.names) < self.world - 1:
            server.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                connection, _ = server.accept()
            except TimeoutError as error:
                raise ConfigError(
                    f"only {len(self.names) + 1} of {self.world} processes have connected; {ON_EVERY_HOST}"
                ) from error
            greeting = _greeting(connection, len(job) + 8)
            if greeting[: len(job)] == job:
                self._watch_over(connection, int(greeting[len(job) :]))
            else:
                connection.close()

    def _watch_over(self, connection, rank):
        connection.settimeout(None)
        # A host that vanishes closes nothing: it is missed after 10 + 3*5 seconds.
        for option, value in (("SO_KEEPALIVE", 1), ("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, option):
                connection.setsockopt(
                    socket.SOL_SOCKET if option.startswith("SO_") else socket.IPPROTO_TCP,
                    getattr(socket, option),
                    value,
                )
        self.names[connection], self.said[connection] = rank, b""

    def _watch(self):
        while self.names:
            for connection in select.select(list(self.names), [], [])[0]:
                try:
                    data = connection.recv(4096)
                except OSError:
                    data = b""
                self.said[connection] += data
                if not data:
                    self._closed(connection)

    def _closed(self, connection):
        rank, said = self.names.pop(connection), self.said[connection]
        if said == DONE or self.done:
            return
        died = (
            f"process {rank} of {self.world} died (killed, or out of memory?); "
            "see workerlog.N in the launcher's log folder on its host"
        )
        sentence = said.decode("utf-8", "replace") or died
        self.leave(sentence.encode())
        print(f"error: {sentence}", file=sys.stderr, flush=True)
        os._exit(FAILED)  # at once: the main thread may be waiting for the dead process

    def leave(self, words: bytes = DONE) -> None:
        """Send the final message: DONE, or the sentence with which the other processes should end."""
        self.done = words == DONE
        for connection in list(self.names):
            try:
                connection.sendall(words)
                connection.shutdown(socket.SHUT_WR)
            except OSError:  # it is gone already
                continue
        if self.done:  # who exits with words unread resets the connection, and its own words may be lost with it
            self.watcher.join(LAST_WORDS_SECONDS)
