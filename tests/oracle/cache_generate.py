"""
Makes up sessions in which a few reads are repeated again and again by several clients, among what may make an answer
that was kept wrong. A seed makes the same session each time, whatever comes back.
"""

import random

import cache_texts as texts
from script import AGAIN, MOVE, SETTLE, Script

MODES = ("auto",)

# Of writes, too, a session has a few that come again: what the first of its kind has written is not known.
WRITES = 4

# Reads of a session, and how many of them stand between what disturbs them.
FAMILY = 6
BURST = (10, 25)

# What disturbs, by how much each session has of it.
QUIET = (("write", 10), ("exclusive", 1), ("settings", 2), ("copy", 1), ("pipeline", 3))
DISTURBANCES = (
    QUIET,
    QUIET,
    QUIET + (("block", 8), ("two phase", 2), ("kept", 2)),
    QUIET + (("schema", 5),),
    QUIET + (("privileges", 6), ("settings", 6)),
    QUIET + (("settings", 12),),
    QUIET + (("temporary", 4), ("prepared", 4)),
    QUIET + (("functions", 6), ("calls", 3)),
    QUIET + (("block", 12), ("schema", 2), ("privileges", 2), ("two phase", 2), ("again", 2), ("move", 2)),
)

USERS = ("app", "app", "other", "app", "other", "howdah")

STARTUPS = (
    {},
    {},
    {},
    {},
    {"DateStyle": "German"},
    {"options": "-c search_path=one,public -c extra_float_digits=0"},
    {"options": "-c TimeZone=America/New_York"},
)

# A word in front makes two texts of one, or says how the answer is to be kept.
COMMENTS = ("",) * 6 + ("/* howdah: cache=off */ ", "/* howdah: cache=1m */ ", "-- asked again\n")


def generate(seed, rounds):
    return _Maker(random.Random("cache %d" % seed), rounds).script()


class _Read:
    """One read in one of the forms in which clients send it."""

    def __init__(self, rng, fill, number, functions):
        self.types, self.values, self.formats = [], [], []
        binary = rng.random() < 0.3
        kind = rng.random()
        if kind < 0.25:
            text, self.types, values = rng.choice(texts.WITH_VALUES)
            self.values = [rng.choice(values)]
        elif kind < 0.29:
            text, binary = rng.choice(texts.TEXT_READS), False
        elif functions and kind < 0.4:
            text = rng.choice(texts.FUNCTION_READS)
        else:
            text = rng.choice(texts.READS)
        self.text = rng.choice(COMMENTS) + fill(text)
        if self.types == [texts.INT4] and rng.random() < 0.4:
            self.values, self.formats = ["\0\0\0" + chr(int(self.values[0]))], [1]
        if self.types == [texts.TEXT] and rng.random() < 0.4:
            self.formats = [1]
        self.results = [1] if binary else rng.choice(([], [], [0]))
        self.described = rng.random() < 0.7
        self.name = "r%d" % number if rng.random() < 0.4 else ""
        self.simple = not self.values and not binary and rng.random() < 0.6

    def batch(self, prepared):
        """Its messages up to, but without, Sync; `prepared` are the names that its client has given."""
        messages = []
        if self.name not in prepared or not self.name:
            messages.append(["P", self.name, self.text, self.types])
            if self.name:
                prepared.add(self.name)
        messages.append(["B", "", self.name, self.values, self.formats, self.results])
        if self.described:
            messages.append(["D", "P", ""])
        return messages + [["E", "", 0]]

    def step(self, prepared):
        return [["Q", self.text]] if self.simple else self.batch(prepared) + [["S"]]


class _Maker:
    def __init__(self, rng, rounds):
        self.rng = rng
        self.rounds = rounds
        self.clients = rng.choice((1, 2, 2, 3))
        self.startup = {c: self._startup() for c in range(self.clients)}
        self.kinds, self.weights = zip(*rng.choice(DISTURBANCES))
        self.family = [_Read(rng, self._fill, number, "functions" in self.kinds) for number in range(FAMILY)]
        self.writes = rng.sample(texts.WRITES, WRITES)
        self.prepared = {c: set() for c in range(self.clients)}
        self.in_block = set()
        self.alone = None  # a client that holds what all others would wait for
        self.steps = []

    def _startup(self):
        startup = dict(self.rng.choice(STARTUPS))
        user = self.rng.choice(USERS)
        return startup if user == "app" else {"user": user, **startup}

    def script(self):
        self._ask_all()
        self._reads()
        for _ in range(self.rounds):
            self._disturb()
            if self.rng.random() < 0.1:
                self._ask_all()
            self._reads()
        return Script(self.steps, self.startup, False, MODES)

    def _fill(self, text):
        rng = self.rng
        return text.format(
            n=rng.randint(1, 5), id=rng.randint(1, 8), what=rng.choice(("new", "old", "b\u00e4r")), bool=rng.choice(("true", "false"))
        )

    def _client(self):
        if self.alone is not None:
            return self.alone
        if self.in_block and self.rng.random() < 0.4:
            return self.rng.choice(sorted(self.in_block))
        return self.rng.randrange(self.clients)

    def _add(self, client, messages):
        for m in messages:
            text = m[1] if m[0] == "Q" else m[2] if m[0] == "P" else ""
            self._note(client, text)
        self.steps.append((client, messages))

    def _note(self, client, text):
        if text.startswith(("BEGIN", "START")):
            self.in_block.add(client)
        elif text.startswith(("COMMIT", "ROLLBACK", "PREPARE TRANSACTION", "DISCARD ALL", "CALL move_in")):
            if "TO s" not in text and "PREPARED" not in text and "CHAIN" not in text:
                self.in_block.discard(client)
                if self.alone == client:
                    self.alone = None
        if client in self.in_block and any(text.startswith(word) for word in EXCLUDING):
            self.alone = client
        if text in ("DISCARD ALL", "DEALLOCATE ALL"):
            self.prepared[client].clear()

    # --- reads ---

    def _ask_all(self):
        """The first time nothing is known of a statement yet."""
        for client in range(self.clients) if self.alone is None else [self.alone]:
            for text in self.writes:
                self._add(client, [["Q", self._fill(text)]])
            for read in self.family:
                self._add(client, read.step(self.prepared[client]))
        self.steps.append((None, SETTLE))

    def _reads(self):
        for _ in range(self.rng.randint(*BURST)):
            client = self._client()
            read = self.family[int(len(self.family) * self.rng.random() ** 1.5)]
            if self.rng.random() < 0.1:
                self._add(client, self._several(client, read))
            else:
                self._add(client, read.step(self.prepared[client]))

    def _several(self, client, read):
        """Reads in one go, with a Sync behind each, or one for all."""
        each = self.rng.random() < 0.5
        messages = []
        for r in [read] + self.rng.choices(self.family, k=self.rng.randint(1, 3)):
            messages += r.batch(self.prepared[client])
            messages += [["S"]] if each else []
        return messages if each else messages + [["S"]]

    # --- disturbances ---

    def _disturb(self):
        kind = self.rng.choices(self.kinds, self.weights)[0]
        client = self._client()
        getattr(self, "_disturb_" + kind.replace(" ", "_"))(client)

    def _one_of(self, choices):
        return self._fill(self.rng.choice(choices))

    def _send(self, client, text):
        """As a Query or, if it is one statement, in the extended protocol."""
        if ";" in text.replace("$$ ", "").strip(";") or self.rng.random() < 0.7:
            self._add(client, [["Q", text]])
        else:
            self._add(client, [["P", "", text], ["B", "", ""], ["D", "P", ""], ["E", "", 0], ["S"]])

    def _disturb_write(self, client):
        if self.rng.random() < 0.7:
            self._add(client, [["Q", self._one_of(self.writes)]])
        else:
            self._send(client, self._one_of(texts.WRITES))

    def _disturb_functions(self, client):
        self._send(self._caller(client), self._one_of(texts.FUNCTION_WRITES))

    def _caller(self, client):
        """Mostly it is the same one that calls: what all of them read is kept no more then."""
        return client if self.alone is not None or self.rng.random() < 0.1 else self.clients - 1

    def _disturb_exclusive(self, client):
        if self.in_block <= {client}:
            self._send(client, self._one_of(texts.EXCLUSIVE_WRITES))

    def _disturb_schema(self, client):
        if self.in_block <= {client}:
            self._send(client, self._one_of(texts.SCHEMA))

    def _disturb_privileges(self, client):
        if self.in_block <= {client}:
            self._send(client, self._one_of(texts.PRIVILEGES))

    def _disturb_settings(self, client):
        self._send(client, self._one_of(texts.SETTINGS))

    def _disturb_temporary(self, client):
        self._send(client, self._one_of(texts.TEMPORARY))

    def _disturb_prepared(self, client):
        self._send(client, self._one_of(texts.PREPARED))

    def _disturb_kept(self, client):
        self._send(client, self._one_of(texts.KEPT))

    def _disturb_calls(self, client):
        function, values = self.rng.choice(texts.CALLS)
        self._add(self._caller(client), [["F", function, [self._fill(v) for v in values]]])

    def _disturb_two_phase(self, client):
        if client not in self.in_block:
            self._send(client, self._one_of(texts.TWO_PHASE))

    def _disturb_copy(self, client):
        text, row = self.rng.choice(texts.COPIES)
        rows = [["d", self._fill(row)] for _ in range(self.rng.randint(0, 2))]
        end = self.rng.choice((["c"], ["c"], ["c"], ["f", "no more"]))
        self._add(client, [["Q", text]] + rows + [end])

    def _disturb_again(self, client):
        if self.alone is None:
            self.prepared[client].clear()
            self.in_block.discard(client)
            self.steps.append((client, AGAIN))

    def _disturb_move(self, _):
        if self.alone is None:
            self.steps.append((None, MOVE))

    def _disturb_block(self, client):
        if client not in self.in_block:
            self._send(client, self._one_of(texts.BEGINS))
        for _ in range(self.rng.randint(0, 2)):
            self._send(client, self._one_of(self.rng.choice((texts.IN_BLOCKS, texts.WRITES))))
        if self.rng.random() < 0.6:
            self._send(client, self._one_of(texts.ENDS))

    def _disturb_pipeline(self, client):
        """Reads and writes in one go: in one transaction, in one each, or as queries."""
        way = self.rng.randrange(3)
        messages = []
        for _ in range(self.rng.randint(2, 5)):
            read = self.rng.choice(self.family) if self.rng.random() < 0.6 else None
            text = read.text if read else self._one_of(texts.WRITES)
            if way == 2 and not (read and read.values):
                messages.append(["Q", text])
            else:
                messages += (
                    read.batch(self.prepared[client]) if read else [["P", "", text], ["B", "", ""], ["E", "", 0]]
                )
                messages += [["S"]] if way else []
        self._add(client, messages if way else messages + [["S"]])


# What locks tables, or the catalogs' rows, that others read.
EXCLUDING = ("TRUNCATE", "REFRESH", "LOCK", "ALTER", "DROP", "CREATE", "GRANT", "REVOKE", "COMMENT", "SELECT id INTO")
