"""A host with the plugins statements and monitor that may ask its servers, and what its metrics are."""

import os

from harness import temp_dir


def configured(more=None, **keys):
    """`keys` are those of [plugin monitor], `more` further sections."""
    history = os.path.join(temp_dir(), "history.db")
    return {
        "plugin statements": {"enabled": "yes"},
        "plugin monitor": {"enabled": "yes", "history": history, "flush_interval": "1s", **keys},
        "node main": {"control_user": "postgres"},
        **(more or {}),
    }


def metrics(host, part):
    return {(r["name"], r["labels"]): float(r["value"]) for r in host.console("SHOW METRICS " + part) if r["value"] is not None}


def metric(host, name, **labels):
    """The value of the metric with these labels among its own; None where there is none."""
    for (n, text), value in metrics(host, name).items():
        if n == name and all("%s=%s" % i in text.split(",") for i in labels.items()):
            return value
    return None
