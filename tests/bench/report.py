"""
What the benchmark prints of its runs: medians, ratios, and where howdahd wins and loses.

A ratio is the median of the rounds' own ratios: the two runs of one round lie seconds apart, so that what slows the
machine for a while slows both.
"""

from statistics import median

BASE = "pgbouncer"


def medians(runs):
    """One dictionary of medians for the runs of one variant; what a variant does not have is None."""
    keys = ("tps", "latency_ms", "cpu_us", "login_us", "resident")
    return {k: median(r[k] for r in runs) if all(r.get(k) is not None for r in runs) else None for k in keys}


def ratio(runs, base_runs, key):
    """Median over the rounds of runs[i] : base_runs[i]; None where one of them has no such figure."""
    pairs = [(r.get(key), b.get(key)) for r, b in zip(runs or [], base_runs or [])]
    if not pairs or any(a is None or not b for a, b in pairs):
        return None
    return median(a / b for a, b in pairs)


def _number(value, form="%.0f"):
    return "-" if value is None else form % value


def _times(value):
    return "-" if value is None else "%.2f x" % value


HEAD = ("clients", "way", "tps", "of direct", "of pgbouncer", "latency ms", "CPU us/tx", "of pgbouncer", "login us", "MB")


def _row(clients, name, runs, by_name):
    m = medians(runs)
    direct, base = by_name.get("direct"), by_name.get(BASE)
    return (
        str(clients),
        name + (" *" if runs[0]["remark"] else ""),
        _number(m["tps"]),
        _times(ratio(runs, direct, "tps") if name != "direct" else None),
        _times(ratio(runs, base, "tps") if name != BASE else None),
        _number(m["latency_ms"], "%.3f"),
        _number(m["cpu_us"], "%.1f"),
        _times(ratio(runs, base, "cpu_us") if name != BASE else None),
        _number(m["login_us"]),
        _number(m["resident"] and m["resident"] / 1e6, "%.1f"),
    )


def _print_rows(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [row[1].ljust(widths[1]) if i == 1 else c.rjust(widths[i]) for i, c in enumerate(row)]
        print("  ".join(cells).rstrip())


def print_tables(results, work="-S"):
    """results: {mode: {clients: {variant: [run of each round]}}}"""
    for mode, by_clients in results.items():
        print("\npgbench %s -M %s\n" % (work, mode))
        rows = [HEAD]
        remarks = []
        for clients, by_name in by_clients.items():
            for name, runs in by_name.items():
                rows.append(_row(clients, name, runs, by_name))
                if runs[0]["remark"]:
                    remarks.append("%s, %d clients: %s" % (name, clients, runs[0]["remark"]))
        _print_rows(rows)
        for remark in remarks:
            print("* " + remark)


def compared(results):
    """Every (mode, clients, variant, tps ratio, cpu ratio) of howdahd to PgBouncer."""
    for mode, by_clients in results.items():
        for clients, by_name in by_clients.items():
            for name, runs in by_name.items():
                if name.startswith("howdah"):
                    base = by_name.get(BASE)
                    yield mode, clients, name, ratio(runs, base, "tps"), ratio(runs, base, "cpu_us")


def _verdict(value, better):
    if 0.97 <= value <= 1.03:
        return "even"
    return "wins" if (value > 1) == (better == "more") else "LOSES"


def print_verdicts(results):
    """One line for each comparison, won or lost."""
    rows = [("mode", "way", "clients", "throughput", "", "CPU per tx", "")]
    for mode, clients, name, tps, cpu in compared(results):
        if tps is not None and cpu is not None:
            rows.append((mode, name, str(clients), _times(tps), _verdict(tps, "more"), _times(cpu), _verdict(cpu, "less")))
    if len(rows) == 1:
        return
    print("\nBeside PgBouncer (within 3 in 100 counts as even):\n")
    _print_rows(rows)


def over_bar(results, bar, from_clients=8):
    """The comparisons in which howdahd's CPU per transaction is above bar x PgBouncer's."""
    return [
        "%s, %d clients, %s: %.2f x" % (mode, clients, name, cpu)
        for mode, clients, name, _, cpu in compared(results)
        if cpu is not None and cpu > bar and clients >= from_clients
    ]
