"""
A headless Chromium for tests, by Debian's chromedriver on a loopback port of its own. Pages' files, cookies and
storage are in a temporary folder; both processes end with the test file.
"""

import json
import os

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.command import Command

from harness import BUILDDIR, SRCDIR, cancel_on_exit, end, free_port, on_exit, spawn, temp_dir, wait_for

AXE = os.path.join(SRCDIR, "build/node/node_modules/axe-core/axe.min.js")


def _listens(port):
    import socket

    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Browser:
    """One window. What the page writes on its console is an error of the test, unless it is `allowed`."""

    def __init__(self, width=1400, height=1000, arguments=()):
        port = free_port()
        folder = temp_dir()
        log = open(os.path.join(folder, "chromedriver.log"), "wb")
        self.process = spawn(["chromedriver", "--port=%d" % port], stdout=log, stderr=log, cwd=folder)
        on_exit(lambda: end(self.process))
        wait_for(lambda: _listens(port), what="chromedriver listens")
        options = webdriver.ChromeOptions()
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--user-data-dir=" + os.path.join(folder, "profile"),
            "--window-size=%d,%d" % (width, height),
            *arguments,
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Remote("http://127.0.0.1:%d" % port, options=options)
        self.driver.set_script_timeout(80)
        self._ending = on_exit(self.driver.quit)
        self.driver.command_executor._commands["cdp"] = ("POST", "/session/$sessionId/goog/cdp/execute")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        cancel_on_exit(self._ending)
        self.driver.quit()
        end(self.process)

    def cdp(self, command, **parameters):
        """A command of the DevTools protocol."""
        return self.driver.execute("cdp", {"cmd": command, "params": parameters})["value"]

    def open(self, url):
        self.driver.get(url)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector):
        """What is written there; None where there is no such element."""
        return self.run("return document.querySelector(arguments[0])?.textContent ?? null", selector)

    def until(self, condition, what, timeout=60.0):
        """Waits until `condition` is true, asking again when what it looked at has just gone."""

        def holds():
            try:
                return condition()
            except StaleElementReferenceException:
                return False

        try:
            return wait_for(holds, timeout, what)
        except AssertionError as e:
            raise AssertionError("%s\nthe page says:\n%s" % (e, self.run("return document.body.innerText"))) from None

    def keys(self, *keys):
        """Into whatever has the focus."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def focus(self):
        """The focused element: its tag, id and label."""
        return self.run(
            "const e = document.activeElement; return [e.tagName, e.id, e.getAttribute('aria-label') ?? e.textContent]"
        )

    def resize(self, width, height):
        self.cdp(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def prefer(self, **features):
        """Media features that the system says: prefer(prefers_color_scheme="dark")."""
        self.cdp(
            "Emulation.setEmulatedMedia",
            features=[{"name": k.replace("_", "-"), "value": v} for k, v in features.items()],
        )

    def complaints(self):
        """What was written on the console since the last call."""
        return [entry["message"] for entry in self.driver.execute(Command.GET_LOG, {"type": "browser"})["value"]]

    def screenshot(self, name):
        """The whole page into the build folder."""
        height = self.run("return document.documentElement.scrollHeight")
        width = self.run("return innerWidth")
        self.resize(width, min(height, 6000))
        self.driver.save_screenshot(os.path.join(BUILDDIR, name))
        self.resize(width, 1000)

    def axe(self, least=20):
        """What keeps somebody from using the page, by axe-core: WCAG 2.2 A and AA, and its best practices. So many of its
        rules at `least` must have found something to look at."""
        with open(AXE) as f:
            self.run(f.read())
        result = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(done, (e) => done({error: String(e)}))"
        )
        assert "error" not in result, result
        assert len(result["passes"]) > least, result
        return [
            "%s: %s\n  %s" % (v["id"], v["help"], "\n  ".join(n["html"] + json.dumps(n["any"][:1])[:300] for n in v["nodes"][:5]))
            for v in result["violations"]
        ]
