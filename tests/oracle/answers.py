"""
Which of the messages that a client has sent are still to be answered. So the end of an answer is known from what
PostgreSQL says: nobody has to wait for silence, or to know beforehand what fails.
"""

import collections

ASYNCHRONOUS = "ANS"
BATCH = "PBDEC"


class Answers:
    def __init__(self):
        self.due = collections.deque()
        self.skipping = False  # after an error, up to the next Sync
        self.copying = False  # the server reads what is copied

    def sent(self, messages):
        self.due.extend(m[0] for m in messages)
        self._settle()

    def done(self):
        return not self.due or (self.copying and len(self.due) == 1)

    def _settle(self):
        """Takes away what gets no answer."""
        while self.copying and len(self.due) > 1 and self.due[1] in "dcfHS":
            taken = self.due[1]
            del self.due[1]
            self.copying = taken not in "cf"
        while self.due and not self.copying:
            kind = self.due[0]
            if kind in "Hdcf" or (self.skipping and kind != "S"):
                self.due.popleft()
            else:
                return

    def heard(self, message):
        kind = message.type
        if not self.due or kind in ASYNCHRONOUS:
            return
        head = self.due[0]
        if kind == "Z":
            self.skipping = False
            self.due.popleft()
        elif kind == "G":
            self.copying = True
        elif kind == "E":
            self.copying = False
            if head in BATCH:
                self.skipping = True
                self.due.popleft()
        elif (head, kind) in ENDS:
            self.copying = False
            self.due.popleft()
        self._settle()


ENDS = {("P", "1"), ("B", "2"), ("C", "3"), ("D", "T"), ("D", "n"), ("E", "C"), ("E", "I"), ("E", "s")}
