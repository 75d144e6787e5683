"""
Draws the quickstart's figures as an SVG: beside each other how long statements take, how many there are in a second, and
what each costs PostgreSQL; a bar for each way. Reads lines of tab-separated figures: way, average ms, p95 ms, statements a
second, CPU of PostgreSQL in us, share of reads that the cache has answered; "-" where one is not known.

    plot.py FILE.svg <FIGURES
"""

import sys
from html import escape

NAMES = {"direct": "direct", "host": "through howdahd", "cached": "with its cache"}
COLOURS = {"direct": "#888888", "host": "#2f6db5", "cached": "#c0653a"}
CHARTS = (
    (1, "average, ms", "%.2f"),
    (2, "95 of 100 within, ms", "%.2f"),
    (3, "statements a second", "%.0f"),
    (4, "CPU of PostgreSQL, us each", "%.0f"),
)
WIDTH, HEIGHT, GAP, TOP = 190, 200, 30, 70


def text(x, y, words, size=12, anchor="middle"):
    return '<text x="%.1f" y="%.1f" font-size="%d" text-anchor="%s">%s</text>' % (x, y, size, anchor, escape(words))


def chart(left, title, form, bars):
    """`bars` are (way, value); a value that is not known is None."""
    highest = max([v for _, v in bars if v is not None], default=0) or 1
    slot = WIDTH / len(bars)
    parts = [text(left + WIDTH / 2, TOP - 18, title)]
    parts.append('<path d="M%.1f %.1f h%d" stroke="#444"/>' % (left, TOP + HEIGHT, WIDTH))
    for number, (way, value) in enumerate(bars):
        middle = left + slot * (number + 0.5)
        height = HEIGHT * (value or 0) / highest
        shape = '<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>'
        parts.append(shape % (middle - slot * 0.4, TOP + HEIGHT - height, slot * 0.8, height, COLOURS[way]))
        parts.append(text(middle, TOP + HEIGHT - height - 4, "?" if value is None else form % value, 11))
    return parts


def legend(rows):
    parts = []
    for number, row in enumerate(rows):
        left = GAP + 190 * number
        hits = ", %s %% of reads hit" % row[5] if row[5] != "-" else ""
        parts.append('<rect x="%d" y="12" width="12" height="12" fill="%s"/>' % (left, COLOURS[row[0]]))
        parts.append(text(left + 18, 22, NAMES[row[0]] + hits, anchor="start"))
    return parts


def main():
    rows = [line.rstrip("\n").split("\t") for line in sys.stdin]
    parts = legend(rows)
    for number, (column, title, form) in enumerate(CHARTS):
        bars = [(row[0], None if row[column] == "-" else float(row[column])) for row in rows]
        parts += chart(GAP + (WIDTH + GAP) * number, title, form, bars)
    size = (GAP + (WIDTH + GAP) * len(CHARTS), TOP + HEIGHT + 20)
    with open(sys.argv[1], "w") as f:
        f.write('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif">\n' % size)
        f.write('<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n")


main()
