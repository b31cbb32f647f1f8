"""Processes of one training that end together: when one dies, the others do within seconds, and say why.

Each process holds a connection to process 0. The operating system closes it when a process dies, however it dies, so that
nothing is polled and no busy process is taken for a dead one. What comes over it: DONE, or the sentence to end with.
"""
import os
import secrets
import select
import signal
import socket
import sys
import threading

from utils.errors import ConfigError

DONE = b"done"
GREETING_SECONDS = 5.0              # after which who connects and says nothing is not one of us
FAILED = 2                          # exit status, as the drivers' for an error
PR_SET_PDEATHSIG = 1                # <sys/prctl.h>


def die_with_parent():
    """Have the kernel kill this process when the launcher that started it dies, whatever this process is busy with (Linux)."""
    if sys.platform != "linux":
        return
    import ctypes
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:      # it died between the two lines
        os.kill(os.getpid(), signal.SIGKILL)


def _greeting(connection, size):
    connection.settimeout(GREETING_SECONDS)
    try:
        return connection.recv(size, socket.MSG_WAITALL)
    except OSError:
        return b""


class Lifeline:
    """Of process `rank` of `world`. `share(value)` gives every process the value of process 0; `host` is this one's address."""

    def __init__(self, rank, world, host, share, timeout=60.0):
        self.rank, self.world = rank, world
        self.names, self.said = {}, {}              # of each connection: its process, and what has come from it
        if rank == 0:
            with socket.create_server((host, 0), backlog=world) as server:
                _, token = share([*server.getsockname()[:2]]), share(secrets.token_hex(16))
                self._accept(server, token.encode(), timeout)
        else:
            address, token = share(None), share(None)
            connection = socket.create_connection(address, timeout)
            connection.sendall(f"{token}{rank:08d}".encode())
            self._watch_over(connection, 0)
        self.thread = threading.Thread(target=self._watch, name="lifeline", daemon=True)
        self.thread.start()

    def _accept(self, server, token, timeout):
        while len(self.names) < self.world - 1:
            server.settimeout(timeout)
            try:
                connection, _ = server.accept()
            except TimeoutError as error:
                raise ConfigError(f"only {len(self.names) + 1} of {self.world} processes came within {timeout:g} s") from error
            greeting = _greeting(connection, len(token) + 8)
            if secrets.compare_digest(greeting[:len(token)], token):    # anyone can connect to an open port
                self._watch_over(connection, int(greeting[len(token):]))
            else:
                connection.close()

    def _watch_over(self, connection, rank):
        connection.settimeout(None)
        # A host that vanishes closes nothing: it is missed after 10 + 3*5 seconds.
        for option, value in (("SO_KEEPALIVE", 1), ("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, option):
                connection.setsockopt(socket.SOL_SOCKET if option.startswith("SO_") else socket.IPPROTO_TCP, getattr(socket, option), value)
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
        if said == DONE:
            return
        died = (f"process {rank} of {self.world} died (killed, or out of memory?); on its host, workerlog.N of the launcher's log folder "
                "shows its last words")
        sentence = said.decode("utf-8", "replace") or died
        self.leave(sentence.encode())
        print(f"error: {sentence}", file=sys.stderr, flush=True)
        os._exit(FAILED)            # the main thread may be waiting for the dead process, in a call that nothing interrupts

    def leave(self, words=DONE):
        """Say the last word: DONE, or the sentence that the other processes should end with."""
        for connection in list(self.names):
            try:
                connection.sendall(words)
                connection.shutdown(socket.SHUT_WR)
            except OSError:         # it is gone already
                continue
