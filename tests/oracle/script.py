"""
A session as plain data: what each of its clients sends, in which order. It is made up by generate.py, kept in a file
of tests/oracle/sessions, cut down by shrink.py, and held on both sides by play.py.

A file has one line for each step: a client's number and its messages, as JSON, sent in one go and answered before the
next step. In front of them may stand:

    # what it shows
    modes auto session          the pool modes in which it must be as PostgreSQL; all three without this line
    asking                      somebody has asked this database for lastval() before
    startup 1 {"DateStyle": …}  what client 1 says in its startup packet; `user` is app where it says nothing

Messages are ["Q", sql], ["P", name, sql, types], ["B", portal, name, values, formats, result formats], ["D", "S" or
"P", name], ["E", portal, rows], ["C", "S" or "P", name], ["S"], ["H"], ["d", text], ["c"], ["f", reason] and ["F", oid
or "name(types)", values]; what is empty at the end may be left out. Instead of messages, "again" lets the client leave and log in anew,
and "- move" lets others use the servers that are free, so that the next statement finds another one in front; "- settle"
waits until the host has nothing left to do by itself.
"""

import json

import pgwire

MODES = ("transaction", "session", "auto")

ENCODERS = {
    "Q": pgwire.query,
    "P": pgwire.parse,
    "B": pgwire.bind,
    "D": pgwire.describe,
    "E": pgwire.execute,
    "C": pgwire.close,
    "S": pgwire.sync,
    "H": pgwire.flush,
    "d": pgwire.copy_data,
    "c": pgwire.copy_done,
    "f": pgwire.copy_fail,
    "F": pgwire.function_call,
}

AGAIN = "again"
MOVE = "move"
SETTLE = "settle"


def encode(message):
    return ENCODERS[message[0]](*message[1:])


class Script:
    """`steps` are pairs: a client's number and its messages or AGAIN; or None and MOVE or SETTLE."""

    def __init__(self, steps=(), startup=None, asking=False, modes=MODES, title=""):
        self.steps = list(steps)
        self.startup = dict(startup or {})
        self.asking = asking
        self.modes = tuple(modes)
        self.title = title

    def clients(self):
        return sorted({client for client, _ in self.steps if client is not None})

    def changed(self, **changes):
        return Script(**{**vars(self), **changes})

    def text(self):
        lines = ["# " + line for line in self.title.splitlines()]
        if self.modes != MODES:
            lines.append("modes " + " ".join(self.modes))
        if self.asking:
            lines.append("asking")
        lines += ["startup %d %s" % (c, json.dumps(p)) for c, p in sorted(self.startup.items()) if p]
        for client, what in self.steps:
            lines.append("- " + what if client is None else "%d %s" % (client, _step_text(what)))
        return "\n".join(lines) + "\n"


def _step_text(what):
    return what if what == AGAIN else json.dumps(what, ensure_ascii=False)


def read(path):
    script = Script()
    title = []
    with open(path) as f:
        for number, line in enumerate(f, 1):
            try:
                _read_line(script, title, line.strip())
            except (ValueError, KeyError) as e:
                raise ValueError("%s:%d: %s" % (path, number, e)) from e
    script.title = "\n".join(title)
    return script


def _read_line(script, title, line):
    word, _, rest = line.partition(" ")
    if not line:
        return
    if word == "#":
        title.append(rest)
    elif word == "modes":
        script.modes = tuple(rest.split())
        if set(script.modes) - set(MODES):
            raise ValueError("no such mode: %s" % rest)
    elif word == "asking":
        script.asking = True
    elif word == "startup":
        client, _, parameters = rest.partition(" ")
        script.startup[int(client)] = json.loads(parameters)
    elif word == "-":
        if rest not in (MOVE, SETTLE):
            raise ValueError("no such step: %s" % rest)
        script.steps.append((None, rest))
    elif rest == AGAIN:
        script.steps.append((int(word), AGAIN))
    else:
        messages = json.loads(rest)
        for m in messages:
            encode(m)
        script.steps.append((int(word), messages))
