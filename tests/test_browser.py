"""The tuning notebook in a real browser: JupyterLab on loopback, cells run, the slider moved by keyboard.

``ASDKIT_SCREENSHOT=FILE`` keeps a picture of the panel, of the notebook as it is not of its quick profile: it takes minutes.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from asdkit.experiments import ALPHAS, position

ROOT = Path(__file__).parent.parent
NOTEBOOK = "09_tuning_the_scalar.ipynb"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-dev-shm-usage"]
PLAIN = {
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},  # cells out of sight are kept in the page
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
PATIENCE = float(os.environ.get("ASDKIT_BROWSER_SECONDS", 120))  # for one step; on an idle machine all take half a minute
OWN = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython"}
OWN |= {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
STEPS = 3  # of the slider: far enough for a clip to change its bin
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chromium() -> str:
    """The Chromium of this machine; none is ever downloaded."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    return found or pytest.skip(f"found no browser; expected {', '.join(BROWSERS)} on the PATH")


def quick_copy(folder: Path) -> None:
    """The notebook with the literals of its quick profile; with its own where a picture is wanted."""
    notebook = json.loads((ROOT / "notebooks" / NOTEBOOK).read_text())
    (cell,) = [c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", [])]
    values = {} if "ASDKIT_SCREENSHOT" in os.environ else cell["metadata"]["nbmake"]["mock"]
    cell["source"] += ["\n"] + [f"{name} = {value!r}\n" for name, value in values.items()]
    (folder / NOTEBOOK).write_text(json.dumps(notebook))


@pytest.fixture(scope="module")
def address(chromium, tmp_path_factory):
    """The notebook on a JupyterLab of its own, whose kernel imports this checkout and knows nothing of the user's."""
    folder, own = tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("jupyter")
    quick_copy(folder)
    for plugin, settings in PLAIN.items():
        path = own / "settings" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(settings))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port, token = s.getsockname()[1], secrets.token_hex(16)
    options = [
        f"--ServerApp.root_dir={folder}", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", "--ServerApp.open_browser=False",
    ]  # fmt: skip
    command = [sys.executable, "-m", "jupyterlab", "--allow-root", "--expose-app-in-browser", *options]
    env = (
        os.environ | {name: str(own / place) for name, place in OWN.items()} | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    )
    base = f"http://127.0.0.1:{port}"
    with (own / "log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(f"{base}/api?token={token}", server, own / "log")
        yield f"{base}/lab/tree/{NOTEBOOK}?token={token}"
    finally:
        server.terminate()
        server.wait(20)


def wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        try:
            with urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not answer within {PATIENCE} s:\n{log.read_text()[-2000:]}")


@pytest.fixture
def page(chromium, address):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 1000}, device_scale_factor=1.25)
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(address)
        yield page
        browser.close()


def seen(page) -> dict[str, str]:
    """What a user sees: the slider's readout, the table, the figure."""
    return {
        "alpha": page.locator(".widget-readout").first.inner_text(),
        "numbers": page.locator(".asdkit-numbers").inner_text(),
        "bars": page.locator(".js-plotly-plot .barlayer").inner_html(),
        "map": page.locator(".js-plotly-plot .subplot.x3y3 .scatterlayer").inner_html(),
        "curve": page.locator(".js-plotly-plot .subplot.xy .scatterlayer").inner_html(),
    }


def test_the_slider_is_moved_by_keyboard_and_the_panel_follows(page, tmp_path):
    page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'")
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    handle = page.locator(".noUi-handle")
    page.locator(".js-plotly-plot .barlayer path").first.wait_for(state="attached")  # an empty bin is never visible
    page.wait_for_function("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'")
    assert not page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr'] .ansi-red-fg").count()
    handle.focus()
    before = seen(page)
    for _ in range(STEPS):
        handle.press("ArrowLeft")
    expected = ALPHAS[position(float(before["alpha"])) - STEPS]
    there = f"at alpha {expected:.2f}"
    page.wait_for_function("there => document.querySelector('.asdkit-numbers').innerText.includes(there)", arg=there)
    page.wait_for_timeout(1000)  # the figure is drawn after the numbers
    after = seen(page)
    assert float(after["alpha"]) == expected and f"at alpha {after['alpha']}" in after["numbers"]
    assert {name for name in before if before[name] != after[name]} == before.keys()
    picture = Path(os.environ.get("ASDKIT_SCREENSHOT", tmp_path / "panel.png"))
    page.locator(".jp-OutputArea-output", has=page.locator(".js-plotly-plot")).first.screenshot(path=picture)
    assert picture.stat().st_size > 20_000
