"""
Draws the benchmark's medians as an SVG: for each mode of pgbench a chart of throughput and one of CPU per
transaction, bars grouped by the number of clients.
"""

from html import escape

from report import medians

CHART_WIDTH, CHART_HEIGHT = 520, 220
MARGIN_LEFT, MARGIN_TOP, GAP = 60, 50, 60
COLOURS = ("#888888", "#c0653a", "#2f6db5", "#6aa84f", "#8e63b0", "#b59b2f")
CHARTS = (("tps", "transactions a second (more is better)"), ("cpu_us", "proxy's CPU, us per transaction (less is better)"))


def _text(x, y, text, anchor="middle", size=11):
    return '<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d">%s</text>' % (x, y, anchor, size, escape(text))


def _axis(left, top, highest):
    """Four lines with their values."""
    parts = []
    for step in range(5):
        y = top + CHART_HEIGHT * (1 - step / 4)
        parts.append('<path d="M%d %.1f h%d" stroke="#ddd"/>' % (left, y, CHART_WIDTH))
        parts.append(_text(left - 5, y + 4, "%g" % float("%.3g" % (highest * step / 4)), "end"))
    return parts


def _chart(left, top, title, key, by_clients, colours):
    values = {
        clients: [(name, medians(runs)[key]) for name, runs in by_name.items()] for clients, by_name in by_clients.items()
    }
    highest = max((v for bars in values.values() for _, v in bars if v is not None), default=1) or 1
    parts = [_text(left + CHART_WIDTH / 2, top - 12, title, size=12)] + _axis(left, top, highest)
    group = CHART_WIDTH / len(values)
    for number, (clients, bars) in enumerate(values.items()):
        bars = [(name, v) for name, v in bars if v is not None]
        width = group * 0.8 / max(1, len(bars))
        for at, (name, value) in enumerate(bars):
            height = CHART_HEIGHT * value / highest
            x = left + group * (number + 0.1) + width * at
            shape = '<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"><title>%s: %.1f</title></rect>'
            parts.append(shape % (x, top + CHART_HEIGHT - height, width * 0.92, height, colours[name], escape(name), value))
        parts.append(_text(left + group * (number + 0.5), top + CHART_HEIGHT + 16, "%d clients" % clients))
    return parts


def _legend(colours):
    parts = []
    for number, (name, colour) in enumerate(colours.items()):
        x = MARGIN_LEFT + number * 150
        parts.append('<rect x="%d" y="10" width="12" height="12" fill="%s"/>' % (x, colour))
        parts.append(_text(x + 17, 20, name, "start"))
    return parts


def draw(results, path):
    names = list(dict.fromkeys(n for by_clients in results.values() for by in by_clients.values() for n in by))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    parts = _legend(colours)
    for row, (mode, by_clients) in enumerate(results.items()):
        top = MARGIN_TOP + 20 + row * (CHART_HEIGHT + GAP)
        for column, (key, title) in enumerate(CHARTS):
            left = MARGIN_LEFT + column * (CHART_WIDTH + MARGIN_LEFT + 10)
            parts += _chart(left, top, "-M %s: %s" % (mode, title), key, by_clients, colours)
    width = 2 * (CHART_WIDTH + MARGIN_LEFT + 10) + 10
    height = MARGIN_TOP + len(results) * (CHART_HEIGHT + GAP)
    with open(path, "w") as f:
        f.write('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif">' % (width, height))
        f.write('<rect width="100%" height="100%" fill="white"/>' + "\n".join(parts) + "</svg>\n")
