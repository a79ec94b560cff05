"""The example's page in a real browser."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Generator

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.fastapi.processes import Process

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LIVE = '#connection[data-state="live"]'
ENDED = (0, -signal.SIGTERM)  # uvicorn raises the signal again once it has ended in order
HOSTILE = [
    "<img src=x onerror=\"document.title='taken over'\">",
    "<script>document.title='taken over'</script>",
    "\"><svg onload=document.title='taken-over'>",
    "javascript:document.title='taken over'",
    "</li></ul><iframe srcdoc=\"<script>parent.document.title='taken over'</script>\">",
    "{{constructor.constructor('document.title=1')()}}",
    "data: x\n\nevent: changed\ndata: {}",
]


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """A Chromium; with CI=true a missing one is a failure."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        message = "the page is not tested: there is no Chromium (Debian: apt-get install chromium)"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Generator[Process]:
    process = Process(tmp_path_factory.mktemp("service"))
    process.start()
    yield process
    assert process.stop() in ENDED, process.said()


@pytest.fixture
def open_page(browser: Browser, process: Process) -> Generator[Callable[[], Page]]:
    """Open the page as another visitor; what is wrong in the browser fails the test."""
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def opened() -> Page:
        context = browser.new_context(viewport={"width": 820, "height": 760})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(8_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None)
        page.goto(process.address)
        expect(page.locator(LIVE)).to_be_visible()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong


def add(page: Page, title: str) -> None:
    page.get_by_label("What is to be done?").fill(title)
    page.get_by_role("button", name="Add task").click()
    expect(page.get_by_label("What is to be done?")).to_have_value("")


def titled(page: Page, title: str):
    return page.get_by_role("textbox", name=f"Title of {title}", exact=True)


def test_a_task_is_created_and_completed_and_reopened(open_page: Callable[[], Page]) -> None:
    page = open_page()
    add(page, "write the report")
    expect(titled(page, "write the report")).to_be_visible()

    page.get_by_role("button", name="Complete write the report").click()
    expect(page.locator("li[data-done=true]", has=titled(page, "write the report"))).to_be_visible()
    page.get_by_role("button", name="Reopen write the report").click()
    expect(page.locator("li[data-done=false]", has=titled(page, "write the report"))).to_be_visible()


def test_a_rejected_command_says_why(open_page: Callable[[], Page]) -> None:
    page = open_page()
    add(page, "finish early")
    page.get_by_role("button", name="Complete finish early").click()
    expect(page.get_by_role("button", name="Reopen finish early")).to_be_visible()

    titled(page, "finish early").fill("too late")
    titled(page, "finish early").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("the task is done already")
    expect(titled(page, "finish early")).to_have_value("finish early")
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_role("alert")).to_be_hidden()


def test_what_one_visitor_does_another_sees_without_asking(open_page: Callable[[], Page]) -> None:
    one, other = open_page(), open_page()
    add(one, "seen by both")
    expect(titled(other, "seen by both")).to_be_visible()
    other.get_by_role("button", name="Complete seen by both").click()
    expect(one.locator("li[data-done=true]", has=titled(one, "seen by both"))).to_be_visible()
    one.get_by_role("button", name="Delete seen by both").click()
    expect(titled(other, "seen by both")).to_have_count(0)


@pytest.mark.timeout(60)  # a process is started, and the browser waits before it connects again
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_page_goes_on_when_the_service_was_restarted(
    open_page: Callable[[], Page], process: Process, number: signal.Signals
) -> None:
    page = open_page()
    add(page, f"before {number.name}")
    process.stop(number)
    expect(page.locator('#connection[data-state="lost"]')).to_be_visible()
    # Sent while nobody answers: it is sent again under the same key, and executed once.
    page.get_by_label("What is to be done?").fill(f"meanwhile {number.name}")
    page.get_by_role("button", name="Add task").click()
    process.start()
    expect(page.locator(LIVE)).to_be_visible(timeout=15_000)
    expect(titled(page, f"meanwhile {number.name}")).to_have_count(1, timeout=10_000)
    httpx.post(f"{process.address}/tasks/{number.name}/commands/create-task", json={"title": f"after {number.name}"})
    expect(titled(page, f"after {number.name}")).to_be_visible()
    expect(titled(page, f"before {number.name}")).to_be_visible()


def test_hostile_text_in_events_is_shown_as_text_and_does_nothing(
    open_page: Callable[[], Page], process: Process
) -> None:
    page = open_page()
    for number, text in enumerate(HOSTILE):
        sent = httpx.post(f"{process.address}/tasks/hostile{number}/commands/create-task", json={"title": text})
        httpx.post(f"{process.address}/tasks/hostile{number}/commands/assign-task", json={"assignee": text})
        assert sent.status_code == 201
    for later in (page, open_page()):  # live, and loaded
        for number in range(len(HOSTILE)):
            expect(later.locator(f'li[data-id="hostile{number}"] .facts')).to_contain_text("assigned to")
        shown = later.locator('li[data-id="hostile0"] input')
        expect(shown).to_have_value(HOSTILE[0])
        expect(later).to_have_title("Tasks")
        assert later.locator("main img, main svg, main iframe, main script").count() == 0


def test_the_page_has_no_inline_code_and_a_strict_policy(process: Process) -> None:
    answer = httpx.get(process.address)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert (policy["default-src"], policy["script-src"], policy["style-src"]) == ("'none'", "'self'", "'self'")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    for forbidden in ("<style", " style=", " onclick=", " onload=", "javascript:"):
        assert forbidden not in answer.text
    assert answer.text.count("<script") == answer.text.count('<script type="module" src="page.js">') == 1
    script = httpx.get(f"{process.address}/page.js").text
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert forbidden not in script


def test_the_browser_would_refuse_markup_and_inline_code(process: Process, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(process.address)
    refused = page.evaluate(
        """() => {
            const attempts = [
                () => { document.body.innerHTML = "<b>bold</b>"; },
                () => { document.createElement("img").setAttribute("onerror", "document.title = 'taken over'"); },
                () => { document.createElement("script").textContent = "document.title = 'taken over'"; },
            ];
            return attempts.map((attempt) => { try { attempt(); return "done"; } catch (error) { return error.name; } });
        }"""
    )
    assert (refused, page.title()) == (["TypeError"] * 3, "Tasks")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(open_page: Callable[[], Page], scheme: str) -> None:
    page = open_page()
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    add(page, f"readable in the {scheme}")
    page.get_by_role("button", name=f"Complete readable in the {scheme}").click()
    expect(page.get_by_role("button", name=f"Reopen readable in the {scheme}")).to_be_visible()
    titled(page, f"readable in the {scheme}").fill("x")
    titled(page, f"readable in the {scheme}").press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()

    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found] == []


def test_the_page_works_with_the_keyboard_alone(open_page: Callable[[], Page]) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    expect(titled(page, "by keyboard")).to_be_visible()
    expect(page.get_by_label("What is to be done?")).to_be_focused()


def test_the_service_ends_at_once_though_pages_are_open(open_page: Callable[[], Page], process: Process) -> None:
    open_page()
    before = time.monotonic()
    assert process.stop() in ENDED
    assert time.monotonic() - before < 4, "streams held the service up"
    said = process.said()
    process.start()
    assert "Traceback" not in said
