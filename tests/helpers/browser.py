"""A real server, a real Chromium, and in one place the words by which the tests find things on the pages."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

MAIN = Path(__file__).resolve().parents[2] / "reid_lightning/app/main.py"
SECONDS = 150.0  # of every wait, on a busy machine
MOST_STOPS = 300  # of the Tab key
_LISTENS = "0A"
_ASKED_IN_VAIN = (
    "Failed to load resource",  # Streamlit looks for its server below the address of a page at first
    "Client Error: Image source error",  # and forgets a picture as soon as a rerun has drawn another one in its place
)
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",  # continuous integration runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
FIND, CAMERA, SAVE, SAVED = "Find vehicles", re.compile("^Camera"), re.compile("^Save "), re.compile("new sighting")
VEHICLE, SEARCH_IN, SEARCH = re.compile("^Vehicle"), re.compile("^or a file, folder"), "Search"
# A table of data keeps the focus while the Tab key goes through the cells of a line.
_MARK = """() => {
    const one = document.activeElement, known = window.reached.has(one);
    window.reached.add(one);
    return known && one !== document.body && one.tagName !== "CANVAS";
}"""
_NOWHERE = "() => document.activeElement.blur()"
_ANEW = "() => { document.activeElement.blur(); window.reached = new WeakSet(); }"
_NAME = """one => {
    const icons = [...one.querySelectorAll("[data-testid=stIconMaterial]")].map(icon => icon.innerText);
    const text = icons.reduce((all, icon) => all.replace(icon, ""), one.innerText).trim();
    return one.getAttribute("aria-label") || one.title || text || [...one.labels ?? []].map(l => l.innerText).join();
}"""
_FOCUS = f"() => [({_NAME})(document.activeElement), document.activeElement.tagName]"
# Left out is what the arrow keys do: the choices of a group, the arrow of a list, the - and + of a number; and the
# unseen button by which a screen reader closes a dialog, beside the one that is seen.
_BUTTONS = """() => [...document.querySelectorAll("button, [role=button], a[href], summary")].filter(
    one => one.checkVisibility({visibilityProperty: true, opacityProperty: true}) && !one.disabled
        && !one.closest("[aria-hidden=true], [inert]")
        && !(one.tabIndex < 0 && one.closest("[data-testid=stMultiSelect], [data-testid=stSelectbox]"))
        && !(one.tabIndex < 0 && one.closest("[data-testid=stNumberInput]"))
        && !(one.tabIndex < 0 && one.parentElement.offsetWidth <= 1)
        && !(one.role === "radio" && one.ariaChecked === "false")
).map(one => {
    const group = one.role === "radio" ? [...one.parentElement.children] : [one];
    const reached = group.some(member => window.reached.has(member));
    return {name: NAME(one), reached, html: one.outerHTML.slice(0, 200)};
})""".replace("NAME", f"({_NAME})")


def chromium_path() -> str:
    """The browser of this machine; skips the test where there is none."""
    pytest.importorskip("playwright", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(CHROMIUMS)} is installed")
    return found


@dataclass
class Server:
    """`streamlit run` as a user starts it."""

    process: subprocess.Popen
    port: int
    log: Path

    @property
    def address(self) -> str:
        """Of the first page."""
        return f"http://127.0.0.1:{self.port}"

    def listening(self) -> list[tuple[str, int]]:
        """The addresses and ports that its process listens on, by /proc."""
        folder = Path(f"/proc/{self.process.pid}")
        if not folder.is_dir():
            pytest.skip("there is no /proc to read the open sockets from")
        links = []
        for file in (folder / "fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                links.append(os.readlink(file))
        inodes = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
        found = []
        for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
            for line in (folder / "net" / table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTENS and columns[9] in inodes:
                    address, port = columns[1].split(":")
                    words = [bytes.fromhex(address[start : start + 8])[::-1] for start in range(0, len(address), 8)]
                    found.append((socket.inet_ntop(family, b"".join(words)), int(port, 16)))
        return found

    def said(self) -> str:
        """What it has written so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def serving(folder: Path, *settings: str) -> Iterator[Server]:
    """A server whose working directory is `folder`; it ends with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = [f"--server.port={port}"]
    command = [sys.executable, "-m", "streamlit", "run", str(MAIN), *options, "--", *settings]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=variables, stdout=output, stderr=output)
        server = Server(process, port, log)
        try:
            _wait_for(server)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _wait_for(server: Server) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and server.process.poll() is None:
        try:
            with urllib.request.urlopen(f"{server.address}/_stcore/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"the server did not start: {server.said()}")


@contextmanager
def chromium() -> Iterator:
    """A browser without a window."""
    path = chromium_path()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS), timeout=1000 * SECONDS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Tab:
    """A browser tab with the application, and the mishaps that it had."""

    page: object
    address: str
    dialogs: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, browser, address: str, *, width: int = 1280, height: int = 900, scheme: str = "light") -> Tab:
        """A tab of its own session on the first page."""
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        context.set_default_timeout(1000 * SECONDS)
        page = context.new_page()
        tab = cls(page, address)

        def dismiss(dialog) -> None:
            tab.dialogs.append(dialog.message)
            dialog.dismiss()

        def hear(said) -> None:
            if said.type == "error" and not said.text.startswith(_ASKED_IN_VAIN):  # charts that cannot be drawn say so
                tab.faults.append(said.text)

        page.on("dialog", dismiss)
        page.on("pageerror", lambda error: tab.faults.append(str(error)))
        page.on("console", hear)
        page.goto(address)
        return tab

    def go(self, title: str) -> None:
        """To a page by the menu, when nothing is being drawn any more."""
        self.page.get_by_role("link", name=title, exact=True).first.click()
        self.page.get_by_role("heading", level=1).filter(has_text=re.compile(title, re.IGNORECASE)).wait_for()
        self.settle()

    def settle(self) -> None:
        """Wait until the server has drawn all of the page."""
        self.page.wait_for_function(
            "() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'"
        )

    def button(self, name):
        """By its label or a pattern of it."""
        return self.page.get_by_role("button", name=name)

    def see(self, text) -> None:
        """Wait for a text; where it does not come, the failure tells what the page shows instead."""
        from playwright.sync_api import TimeoutError

        try:
            self.page.get_by_text(text).first.wait_for()
        except TimeoutError as error:
            shown = self.page.locator("body").inner_text()
            raise AssertionError(f"{text} is not on the page, but this:\n{shown}\n{self.faults}") from error

    def type(self, label, text: str) -> None:
        """Into a field, as with the keyboard; leaving it tells the server."""
        box = self.page.get_by_role("textbox", name=label)
        box.fill(text)
        box.press("Tab")
        self.settle()

    def choose(self, label: str, text: str) -> None:
        """In a list to type into, by the keyboard: what is under the mouse moves while the list grows shorter."""
        from playwright.sync_api import expect

        box, options = self.page.get_by_role("combobox", name=label), self.page.get_by_role("option")
        box.click()
        box.fill(text)
        expect(options).to_have_count(1, timeout=1000 * SECONDS)
        box.press("Enter")
        expect(box).to_have_value(text, timeout=1000 * SECONDS)
        self.settle()

    def open_vehicle(self, name: str) -> None:
        """From the Gallery's list."""
        self.page.get_by_role("button", name=name, exact=True).click()
        self.page.get_by_role("heading", level=1, name=name).wait_for()
        self.settle()

    def rename(self, name: str) -> None:
        """The vehicle whose page is open."""
        self.page.get_by_role("button", name="Rename", exact=True).click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("textbox", name="New name").fill(name)
        dialog.get_by_role("textbox", name="New name").press("Enter")
        self.settle()
        dialog.get_by_role("button", name="Rename").click()
        self.page.get_by_role("heading", level=1, name=name).wait_for()
        self.settle()

    def delete_vehicle(self) -> None:
        """The vehicle whose page is open."""
        self.button("Delete vehicle").click()
        self.page.get_by_role("dialog").get_by_role("button", name="Delete it").click()
        self.page.get_by_role("heading", level=1, name="Gallery").wait_for()
        self.settle()

    def buttons(self) -> list[dict]:
        """All visible buttons and links: `name`, and whether they are `reached` from the top by the Tab key alone."""
        self.page.evaluate(_ANEW)
        for _ in range(MOST_STOPS):
            self.page.keyboard.press("Tab")
            if self.page.evaluate(_MARK):  # round once, and at the top again
                break
        found = self.page.evaluate(_BUTTONS)
        self.page.evaluate(_NOWHERE)  # the link for skipping the menu covers it while it has the focus
        return found

    def reach(self, name: str | re.Pattern, *, tag: str | None = None) -> None:
        """Go on by the Tab key alone until something of this name, or of this kind (`BUTTON`, `A`, `INPUT`) has the
        focus."""
        seen = []
        for _ in range(MOST_STOPS):
            self.page.keyboard.press("Tab")
            seen.append(self.page.evaluate(_FOCUS))
            fits = seen[-1][0] == name if isinstance(name, str) else name.search(seen[-1][0])
            if fits and tag in (None, seen[-1][1]):
                return
        raise AssertionError(f"the Tab key does not reach {name}: {seen}")

    def press(self, name: str | re.Pattern, *, key: str = "Enter", tag: str | None = "BUTTON") -> None:
        """A button or link, by the keyboard alone."""
        self.settle()
        self.reach(name, tag=tag)
        self.page.keyboard.press(key)

    def write(self, name: str | re.Pattern, text: str) -> None:
        """Into a field, by the keyboard alone; leaving it tells the server."""
        self.settle()
        self.reach(name, tag="INPUT")
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)

    def find_vehicles(self, clip: Path, *, camera: str) -> None:
        """On the Register page: upload, name the camera, begin."""
        self.page.locator("input[type=file]").first.set_input_files(clip)
        self.button(re.compile("^Remove ")).first.wait_for()  # it has arrived
        self.type(CAMERA, camera)
        self.button(FIND).click()
