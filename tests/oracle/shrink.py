"""Cuts a session that differs down to the least that still does."""

import time

from play import Differs, Unplayable

PATIENCE = 1.5


def shrink(stage, script, seconds):
    """Returns the smallest session found within that time, and how it differs (None: only now and then)."""
    return _Shrinker(stage, seconds).shrink(script)


class _Shrinker:
    def __init__(self, stage, seconds):
        self.stage = stage
        self.until = time.monotonic() + seconds
        self.how = None

    def _in_time(self):
        return time.monotonic() < self.until

    def _differs(self, script):
        try:
            self.stage.play(script, PATIENCE)
        except Differs as e:
            self.how = e
            return True
        except Unplayable:
            pass
        return False

    def shrink(self, script):
        if not self._differs(script):
            return script, None
        before = None
        while before != script.text() and self._in_time():
            before = script.text()
            script = self._fewer(script, script.steps, lambda steps: script.changed(steps=steps))
            script = self._fewer_messages(script)
            script = self._plainer(script)
        return script, self.how

    def _fewer(self, script, items, make):
        """Leaves out runs of items, first long ones, then shorter ones."""
        size = max(1, len(items) // 2)
        while self._in_time():
            at = 0
            while at < len(items) and self._in_time():
                rest = items[:at] + items[at + size :]
                candidate = make(rest)
                if candidate and self._differs(candidate):
                    script, items = candidate, rest
                else:
                    at += size
            if size == 1:
                break
            size //= 2
        return script

    def _fewer_messages(self, script):
        for number in range(len(script.steps)):
            client, what = script.steps[number]
            if isinstance(what, str) or len(what) < 2:
                continue
            *front, last = what  # without its end a step has none

            def with_front(messages, script=script, number=number, client=client, last=last):
                steps = list(script.steps)
                steps[number] = (client, messages + [last])
                return script.changed(steps=steps)

            script = self._fewer(script, front, with_front)
        return script

    def _plainer(self, script):
        candidates = [script.changed(asking=False)] if script.asking else []
        candidates += [
            script.changed(startup={c: p for c, p in script.startup.items() if c != client})
            for client in script.startup
        ]
        for candidate in candidates:
            if self._in_time() and self._differs(candidate):
                return candidate
        return script
