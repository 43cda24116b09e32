"""The committed notebooks and tables as pages, in a real browser."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from kdutils import paths
from kdutils.views import explorer, pages

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")
STEMS = sorted(path.stem for path in (paths.ROOT / "reports/paper/notebooks").glob("*"))
STEMS += ["index", "explorer"]
AXE = "4.10.3"

# Text whose contrast with the nearest background above it is under WCAG AA's ratio.
FAINT = """() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (c) => c <= 10 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4;
  const luminance = (rgb) => rgb.slice(0, 3).map(linear)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const rgb = numbers(getComputedStyle(one).backgroundColor);
      if (rgb.length < 4 || rgb[3] === 1) return rgb;
    }
    return [255, 255, 255];
  };
  const faint = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest("script, option")) continue;
    const style = getComputedStyle(element);
    const color = element.closest(".plot svg") ? style.fill : style.color;
    const both = [luminance(numbers(color)), luminance(behind(element))];
    const ratio = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    if (ratio < 4.5) faint.add(`${element.tagName}.${element.className} ${ratio}`);
  }
  return [...faint];
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The paper report's pages, made anew from its notebooks, tables and figures."""
    folder = tmp_path_factory.mktemp("reports") / "paper"
    folder.mkdir()
    for name in ("notebooks", "tables", "figures", "ledger", "ship"):
        (folder / name).symlink_to(paths.ROOT / "reports/paper" / name)
    pages.write(folder)
    return folder


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def axe() -> str:
    """The script of axe-core, which npm fetches once; skipped where npm cannot."""
    folder, npm = paths.ROOT / ".data/axe", shutil.which("npm")
    file = folder / f"axe-core-{AXE}.tgz"
    if npm and not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([npm, "pack", "--silent", f"axe-core@{AXE}"], cwd=folder)
    if not file.exists():
        pytest.skip("no axe-core: npm or its registry is not there")
    with tarfile.open(file) as package:
        return package.extractfile("package/axe.min.js").read().decode()


@contextmanager
def visits(browser, report):
    """Open pages by their stem; at the end no error and no outside request was seen."""
    seen, opened = [], []

    def open_page(stem: str, width: int = 1280, **options):
        page = browser.new_page(viewport={"width": width, "height": 800}, **options)
        opened.append(page)
        page.on("console", lambda message: seen.append(message.text))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on(
            "request",
            lambda request: (
                request.url.startswith(("file:", "data:")) or seen.append(request.url)
            ),
        )
        page.goto((report / f"{stem}.html").as_uri())
        return page

    yield open_page
    for page in opened:
        page.close()
    assert seen == []


@pytest.fixture
def visit(browser, report):
    with visits(browser, report) as open_page:
        yield open_page


@pytest.fixture(scope="module", params=STEMS)
def page(browser, report, request):
    """Each page, opened once for all tests that ask for it, on a phone first."""
    with visits(browser, report) as open_page:
        yield open_page(request.param, width=390)


def test_no_page_is_wider_than_a_phone(page):
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_nothing_is_cut_on_paper(page):
    page.set_viewport_size({"width": 672, "height": 800})  # A4 less its margins
    page.emulate_media(media="print")
    rights = "all => all.map((one) => one.getBoundingClientRect().right)"
    assert max(page.eval_on_selector_all("main, table, img, math", rights)) <= 673


def test_axe_finds_no_barrier(page, axe):
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach((d) => d.open = true)")
    page.evaluate(axe)
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("stem", ["index", "explorer", "02_kd_tabular", "99_results"])
def test_text_has_contrast_and_pictures_are_described(visit, stem, scheme):
    page = visit(stem, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((d) => d.open = true)")
    assert page.evaluate(FAINT) == []
    alts = page.eval_on_selector_all("img", "all => all.map((one) => one.alt)")
    assert all(len(alt) > 8 for alt in alts), alts


def test_a_cell_is_chosen_by_mouse_and_by_keyboard(visit):
    page = visit("explorer")
    page.click("#heat button[data-a='0.5'][data-t='2']")
    assert page.inner_text("#chosen") == "α = 0.5, T = 2"
    before = page.inner_text("#value")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#chosen") == "α = 0.5, T = 3"
    page.keyboard.press("ArrowUp")
    assert page.inner_text("#chosen") == "α = 0.75, T = 3"
    assert page.inner_text("#value") != before
    assert page.evaluate("document.activeElement.dataset.a") == "0.75"
    assert page.locator("#heat button[tabindex='0']").count() == 1
    assert page.locator("#seeds circle.seed").count() == 5


def test_dropdowns_change_what_is_shown(visit):
    page = visit("explorer")
    for label in page.eval_on_selector_all(
        "#data option", "all => all.map(o => o.value)"
    ):
        page.select_option("#data", label)
        assert page.inner_text("#about").startswith(label)
        assert page.locator("#heat button").count() > 1
    page.select_option("#data", "MNIST")
    page.select_option("#student", "cnn")
    gains = page.inner_text("#heat")
    page.select_option("#metric", "ece")
    assert page.inner_text("#heat") != gains
    page.select_option("#method", "DIST")
    assert page.locator("#heat tr").count() < 8
    assert "Calibration" in page.inner_text("#value")


def test_a_cell_shows_the_value_of_its_table(visit):
    from kdutils.views.explorer import read

    page = visit("explorer")
    page.select_option("#metric", "score")
    page.click("#heat button[data-a='0.9'][data-t='4']")
    row = next(
        row
        for row in read(paths.ROOT / "reports/paper/tables/sweep.csv")
        if (row["source"], row["method"]) == ("tester", "kd")
        and (float(row["alpha"]), float(row["T"])) == (0.9, 4)
    )
    ends = f"{row['auc']}, 95 % interval {row['auc_low']} to {row['auc_high']}"
    shown = page.inner_text("#value")
    assert ends in shown and f"n = {row['n']}" in shown


def test_the_playground_is_the_loss_of_the_package_and_its_gradient(visit):
    import torch

    from kdutils import losses

    page = visit("explorer")
    page.fill("#T-slider", "3")
    page.fill("#alpha-slider", "0.7")
    student, teacher, label = page.evaluate("[STUDENT, TEACHER, LABEL]")
    z = torch.tensor([student], requires_grad=True)
    loss = losses.get("kd", "multiclass")(
        z, torch.tensor([teacher]), torch.tensor([label]), alpha=0.7, T=3.0
    )
    loss.sum().backward()
    assert page.inner_text("#loss").endswith(f"= {loss.item():.3f}")
    shown = page.locator("#gradient svg").get_attribute("aria-label").split(", ")
    for text, slope in zip(shown, z.grad[0].tolist(), strict=True):
        assert float(text.rpartition(": ")[2]) == pytest.approx(slope, abs=6e-4)


def test_a_figure_opens_full_size_and_closes(visit):
    page = visit("02_kd_tabular", width=390)
    picture = page.locator("figure img").first
    small = picture.bounding_box()["width"]
    page.locator("figure > a").first.click()
    assert picture.bounding_box()["width"] > 2 * small
    page.locator("figure .close").first.click()
    assert picture.bounding_box()["width"] == small


def test_the_pages_are_small_and_the_index_paints(visit, report):
    sizes = {path.name: path.stat().st_size for path in report.glob("*.html")}
    assert sum(sizes.values()) <= 6e6 and sizes["explorer.html"] <= 1.2e6
    page = visit("index")
    paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    page.wait_for_function(paint)


def test_in_lab_a_cell_holds_the_explorer_of_the_tables_as_they_stand(
    browser, report, monkeypatch
):
    monkeypatch.setattr(paths, "tables", lambda: report / "tables")
    page = browser.new_page()
    page.set_content(explorer.show()._repr_html_())
    frame = page.frame_locator("iframe")
    before = frame.locator("#heat").inner_text()
    frame.locator("#metric").select_option("agreement")
    after = frame.locator("#heat").inner_text()
    assert before != after and before.count("\n") == after.count("\n") > 4
    page.close()
