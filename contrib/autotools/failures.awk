# Reads logs of tests that the TAP driver wrote, and prints for each case that failed its file, its name, and what the
# test said of it: the last lines before the traceback cut short, and the traceback itself.

FNR == 1 {
    bad = 0
    forget()
}

# The driver's line of a result; the test's own, "ok" and "not ok", say the same.
/^(PASS|XFAIL): / {
    forget()
    next
}

# A file with a failed case exits with a status, which is nothing new.
/^ERROR: .* - exited with status 1$/ && bad { next }

/^(FAIL|XPASS|SKIP|ERROR): / {
    bad = 1
    print "* " $0
    tell()
    forget()
    next
}

/^(not )?ok / || /^[0-9]+\.\.[0-9]+/ || /^# [0-9.]+ s$/ || /^[ \t#]*$/ { next }

{
    sub(/^# ?/, "")
    line[++n] = $0
    if (!trace && /^ *Traceback \(most recent call last\):/)
        trace = n
}

function forget() {
    n = trace = 0
}

function cut(text, most) {
    sub(/ts=[0-9-]+T/, "", text)
    return length(text) > most ? substr(text, 1, most) "…" : text
}

# Lines `from` to `to`, of which the middle goes where they are more than `most`.
function show(from, to, most, width,   i, half) {
    half = int(most / 2)
    for (i = from; i <= to; i++) {
        if (to - from >= most && i == from + half) {
            print "    … " (to - from + 1 - 2 * half) " lines …"
            i = to - half + 1
        }
        print "    " cut(line[i], width)
    }
}

function tell(   before) {
    before = trace ? trace - 1 : n
    show(before > 15 ? before - 14 : 1, before, 15, 160)
    if (trace)
        show(trace, n, 60, 600)
}
