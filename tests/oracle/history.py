"""
What is known of the order in which a history's writes were committed, and whether what was read fits into it.

Every row that is written has a version, one more than the version before, and a token that nobody else writes. A row is
locked from its change to the end of its transaction, so its versions are the order of commits. A read that begins after
a commit was acknowledged, to whomever, must not show an older version; what it shows must have been written, by a
transaction that was not aborted.

Where several hosts promise less to each other's clients, that is the lag: what was acknowledged through another host so
many seconds ago counts; through the same host, at once.
"""

import bisect
import collections
import threading
import time

ISSUED, COMMITTED, ABORTED, UNKNOWN = "issued", "committed", "aborted", "unknown"


class Ledger:
    """Shared by all clients. What is asked before each read costs no lock."""

    def __init__(self, lag=0.0):
        self.lock = threading.Lock()
        self.lag = lag
        # By host and row (host None: any), the newest version that somebody knows is committed.
        self.acknowledged = collections.defaultdict(int)
        self.log = collections.defaultdict(lambda: ([], []))  # by row: when, and the newest version by then
        self.tokens = {"first": COMMITTED}
        self.seen = {}  # by row and version: the token
        self.violations = []
        self.counts = collections.Counter()

    # --- writes ---

    def issue(self, token):
        """Before it is sent."""
        self.tokens[token] = ISSUED

    def committed(self, row, version, token, host):
        with self.lock:
            self.tokens[token] = COMMITTED
            self._see(row, version, token)
            for where in (None, host):
                self.acknowledged[where, row] = max(self.acknowledged[where, row], version)
            if self.lag:
                when, versions = self.log[row]
                versions.append(self.acknowledged[None, row])
                when.append(time.monotonic())

    def ended(self, token, state):
        with self.lock:
            self.tokens[token] = state

    # --- reads ---

    def floor(self, row, host):
        """Asked before the read is sent: the oldest version that it may show."""
        if not self.lag:
            return self.acknowledged[None, row]
        when, versions = self.log[row]
        n = bisect.bisect_right(when, time.monotonic() - self.lag)
        return max(self.acknowledged[host, row], versions[n - 1] if n else 0)

    def read(self, row, floor, version, token, how):
        """What a read has shown whose floor was asked before it was sent."""
        self.counts["reads"] += 1
        state = self.tokens.get(token)
        if version < floor:
            self.fail("%s: version %d of %s, but %d was acknowledged before [%s]" % (how, version, row, floor, token))
        elif state is None:
            self.fail("%s: %s shows %r, which nobody has written" % (how, row, token))
        elif state == ABORTED:
            self.fail("%s: %s shows %r, whose transaction was aborted" % (how, row, token))
        elif self.seen.get((row, version)) != token:
            with self.lock:
                self._see(row, version, token)

    def _see(self, row, version, token):
        if self.seen.setdefault((row, version), token) != token:
            self.fail("version %d of %s is both %r and %r" % (version, row, self.seen[row, version], token))

    def fail(self, what):
        self.violations.append(what)

    def close(self):
        """All clients have ended: what was read of transactions that were aborted later?"""
        for (row, version), token in self.seen.items():
            if self.tokens.get(token) == ABORTED:
                self.fail("version %d of %s was seen with %r, whose transaction was aborted" % (version, row, token))


class Switch:
    """Something that one client at a time turns on and off, such as a privilege."""

    def __init__(self, lag=0.0):
        self.lock = threading.Lock()
        self.lag = lag
        self.begun = 0  # so many turns have been sent
        self.done = 0  # and acknowledged; even: on
        self.when = []  # each of those

    def known(self):
        """How many turns everybody has to know of."""
        return bisect.bisect_right(self.when, time.monotonic() - self.lag) if self.lag else self.done

    def turn(self, function):
        with self.lock:
            self.begun += 1
            function(self.begun % 2 == 0)
            self.when.append(time.monotonic())
            self.done = self.begun

    def possible(self, done_before, on):
        """May something that began when `done_before` turns were done have been on (or off)?"""
        begun = self.begun
        return begun > done_before or (done_before % 2 == 0) == on
