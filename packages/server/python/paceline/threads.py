"""The server of an instance with threads, which run the views. The main thread accepts, reads heads and runs timers and jobs."""

import threading
from collections import deque
from queue import SimpleQueue

from . import forks
from .server import Server
from .stacks import stack_text

# How long a thread may take to end after the last response.
JOIN_TIMEOUT_S = 1


class ThreadedServer(Server):
    """Like `Server`, with up to `count` requests at once. A connection belongs to a thread during a request, otherwise to the loop."""

    def __init__(self, listener, application, instance, count, shared=()):
        super().__init__(listener, application, instance, shared)
        self.base_environ["wsgi.multithread"] = True
        # The connections that do not belong to the loop, including those that wait for a thread.
        self._lent = set()
        self._waiting = SimpleQueue()
        self._returned = deque()
        # The current request of each thread.
        self._under_way = {}
        self._fatal = None
        self._threads = [
            threading.Thread(target=self._work, name=f"request-{number}", daemon=True) for number in range(1, count + 1)
        ]

    def run(self):
        for thread in self._threads:
            thread.start()
        super().run()
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join(JOIN_TIMEOUT_S)

    def serve(self, connection, head):
        self._detach(connection)
        self._lent.add(connection)
        self._waiting.put((connection, head))

    def linger(self, connection):
        # The connection still belongs to its thread; `_take_back` handles it.
        if connection not in self._lent:
            super().linger(connection)

    def rests(self, connection):
        # The connection still belongs to its thread, as above.
        if connection not in self._lent:
            super().rests(connection)

    def forget(self, connection):
        if connection not in self._lent:
            super().forget(connection)

    def connections(self):
        return list(self._under_way.values())

    def close_sockets(self):
        super().close_sockets()
        for connection in self._lent:
            connection.close_socket()

    def close(self):
        super().close()
        for connection in list(self._lent):
            connection.close()

    def _count(self):
        return super()._count() + len(self._lent)

    def _is_done(self):
        return not self._lent and super()._is_done()

    def _take_wakes(self):
        super()._take_wakes()
        while self._returned:
            self._take_back(self._returned.popleft())
        if self._fatal is not None:
            raise self._fatal

    def _take_back(self, connection):
        self._lent.discard(connection)
        if not connection.is_open:
            return
        self._attach(connection)
        if connection.is_lingering:
            self.linger(connection)
        elif connection.has_next:
            self.buffered.append(connection)
        elif connection.client is not None:
            self.rests(connection)

    # Runs on the threads:

    def _work(self):
        me = threading.get_ident()
        while True:
            taken = self._waiting.get()
            if taken is None:
                return
            connection, head = taken
            self._under_way[me] = connection
            try:
                connection.serve(head)
            except BaseException as error:
                if forks.is_child:
                    forks.end("a request", error)
                # The app exits its process, which only the main thread can do.
                self._fatal = error
            del self._under_way[me]
            self._returned.append(connection)
            self.wake()

    def describe_overdue(self, meant):
        """Describes the request of the connection `meant`; if that is None, the longest running abandoned one."""
        found = []
        for ident, connection in list(self._under_way.items()):
            request, seconds, is_unwanted = connection.describe()
            found.append((connection is meant, is_unwanted, seconds, request, ident))
        if not found:
            return None
        _, _, seconds, request, ident = max(found)
        return stack_text(f"{request} has been running for {seconds:.1f} s", ident)
