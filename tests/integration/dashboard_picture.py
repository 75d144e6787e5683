"""
The dashboard's picture in README.md: `tests/integration/run tests/integration/dashboard_picture.py FILE.png` starts a
host with a load of its own and takes it after five minutes. Not a test.
"""

import os
import random
import sys
import threading
import time

import psycopg

from browser import Browser
from harness import Host, Postgres, free_port, temp_dir

SECONDS = 300

pg = Postgres()
with pg.connect(user="app", password="secret") as c:
    c.execute("CREATE TABLE customer (id int PRIMARY KEY, name text)")
    c.execute("CREATE TABLE orders (id int PRIMARY KEY, customer int, total numeric)")
    c.execute("INSERT INTO customer SELECT g, 'name ' || g FROM generate_series(1, 1000) g")
    c.execute("INSERT INTO orders SELECT g, g % 1000 + 1, g % 97 FROM generate_series(1, 20000) g")
pg.execute("ANALYZE")

port = free_port()
changes = {
    "http": {"listen": "127.0.0.1:%d" % port},
    "database *": {"pool_mode": "auto", "pool_size": 3},
    "node main": {"control_user": "postgres"},
    "plugin statements": {},
    "plugin cache-memory": {},
    "plugin cache": {"mode": "ttl", "ttl": "5s"},
    "plugin guard": {},
    "plugin alerts": {"state_file": ""},
    "alert slow": {"expr": "quantile(0.95, howdah_statement_seconds[1m])", "above": "0.5"},
    "alert dead-node": {"expr": "howdah_node_up", "below": "1", "severity": "page"},
    "plugin monitor": {"history": os.path.join(temp_dir(), "history.db"), "template_interval": "1s"},
}
work = (
    ("SELECT name FROM customer WHERE id = %s", 1000, 12),
    ("SELECT sum(total) FROM orders WHERE customer = %s", 40, 3),
    ("UPDATE orders SET total = total + 1 WHERE id = %s", 20000, 1),
)


def fail(c):
    try:
        c.execute("INSERT INTO customer VALUES (1, 'there already')")
    except psycopg.errors.UniqueViolation:
        pass


def load(host, end):
    with host.connect() as c:
        while time.monotonic() < end:
            busy = 0.5 + 0.4 * random.random() + 0.3 * (int(time.monotonic()) % 30 > 20)
            if random.random() < 0.02:
                fail(c)
            for sql, most, often in work:
                for _ in range(often):
                    c.execute(sql, (random.randrange(most),))
            time.sleep(0.05 / busy)


with Host(pg, changes) as host, Browser() as browser:
    browser.resize(1280, 900)
    end = time.monotonic() + SECONDS
    threads = [threading.Thread(target=load, args=(host, end)) for _ in range(4)]
    for t in threads:
        t.start()
    browser.open("http://127.0.0.1:%d/" % port)
    time.sleep(SECONDS - 4)
    browser.driver.save_screenshot(sys.argv[1])
    for t in threads:
        t.join()
