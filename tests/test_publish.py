"""publish: what is refused, what is taken out of notebooks, what a page may hold."""

from __future__ import annotations

import copy
import json
import re

import pytest

from kdutils.views import explorer, pages, publish, render, sums


def code(id: str, source: str, *outputs: dict, tags: tuple[str, ...] = ()) -> dict:
    meta = {"tags": list(tags), "papermill": {"duration": 1.2}, "execution": {"t": "3"}}
    rest = {"execution_count": 1, "outputs": list(outputs), "source": source}
    return {"cell_type": "code", "id": id, "metadata": meta, **rest}


def text(id: str, source: str) -> dict:
    return {"cell_type": "markdown", "id": id, "metadata": {}, "source": source}


def printed(words: str, name: str = "stdout") -> dict:
    return {"output_type": "stream", "name": name, "text": words.splitlines(True)}


def shown(**data: str) -> dict:
    data = {key.replace("_", "/"): value for key, value in data.items()}
    return {"output_type": "display_data", "metadata": {}, "data": data}


def drawn(alt: str) -> dict:
    """A PNG, and what it shows in words."""
    return shown(image_png="iVBORw0KGgo=") | {"metadata": {"image/png": {"alt": alt}}}


def notebook(*cells: dict) -> dict:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    language = {"name": "python", "version": "3.11.7"}
    meta = {"kernelspec": kernel, "language_info": language, "papermill": {"d": 1}}
    return {"cells": list(cells), "metadata": meta, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture
def stage(tmp_path):
    """A notebook that declares two parameters, and a YAML to fill."""
    path = tmp_path / "01_teachers.ipynb"
    cell = code("parameters", "seeds = 5\nalphas: list = [0.5]", tags=("parameters",))
    path.write_text(json.dumps(notebook(cell)))
    return path, tmp_path / "01_teachers.yaml"


def test_check_accepts_exactly_the_declared_names(stage):
    path, yaml = stage
    yaml.write_text("seeds: 1\nalphas: [0.1]\n")
    publish.check(path, yaml, ["seeds"])


@pytest.mark.parametrize(
    ("lines", "given", "said"),
    [
        (
            "seeds: 1\nalphas: []\nalpha: 1",
            [],
            "01_teachers.yaml: .* no parameter alpha$",
        ),
        ("seeds: 1", [], "01_teachers.yaml lacks alphas, which .*ipynb asks for$"),
        ("seeds: 1\nalphas: []", ["tabel"], "the command line: .* no parameter tabel$"),
        ("seeds: {a: 1}\nalphas: []", [], "01_teachers.yaml: seeds holds a mapping"),
        ("- seeds", [], "01_teachers.yaml must be"),
    ],
)
def test_check_refuses_in_one_sentence(stage, lines, given, said):
    path, yaml = stage
    yaml.write_text(lines)
    with pytest.raises(ValueError, match=said) as caught:
        publish.check(path, yaml, given)
    assert "\n" not in str(caught.value)


TYPED = """seeds, share, source, root, bf16 = 5, 0.5, "digits", "", False
alphas, temperatures, other_alphas, hint_T, nothing = [0.5], [1], [0.9], 4, None
students, device = [{"lr": 0.1, "sizes": {}}], "auto"
"""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("temperatures: [1, 0]", r"is \[1, 0\]: expected numbers above 0$"),
        ("temperatures: [.inf]", r"is \[inf\]: expected numbers above 0$"),
        ("temperatures: 2", "is 2: expected a list$"),
        ("alphas: [0.5, 1.5]", r"is \[0.5, 1.5\]: expected numbers from 0 to 1$"),
        ("other_alphas: [-1]", r"is \[-1\]: expected numbers from 0 to 1$"),
        ("other_alphas: [half]", r"is \['half'\]: expected numbers from 0 to 1$"),
        ("alphas:", "is None: expected a number from 0 to 1$"),
        ("hint_T: 0", "is 0: expected a number above 0$"),
        ("seeds: five", "is 'five': expected a number$"),
        ("seeds: true", "is True: expected a number$"),
        ("share: 1e-3", "is '1e-3': expected a number$"),
        ("source: 3", "is 3: expected text$"),
        ("bf16: 1", "is 1: expected true or false$"),
        ("students: [{lr: 0.1, alpha: 2}]", "is .*: expected alpha from 0 to 1$"),
        ("students: [{lr: 1, sizes: {wide: [4]}}]", "has no key wide$"),
        ("students: [{epoch: 1}]", "has no key epoch$"),
        ("device: gpu", "is 'gpu': expected auto or cpu or cuda$"),
    ],
)
def test_check_refuses_a_value_that_cannot_be(stage, line, said):
    path, yaml = stage
    cell = code("parameters", TYPED, tags=("parameters",))
    path.write_text(json.dumps(notebook(cell)))
    given = {"seeds": "1.5\nshare: 1\nsource: x\nroot: 7\nbf16: true"}
    given |= {"alphas": "[0, 1]\ntemperatures: [0.5]\nother_alphas: []\nhint_T: 1"}
    given |= {"nothing": "[1]\nstudents: null\ndevice: cpu"}
    good = "".join(f"{key}: {value}\n" for key, value in given.items())
    yaml.write_text(good)
    publish.check(path, yaml)
    yaml.write_text(f"{good}{line}\n")  # of one key given twice, the last counts
    key = line.split(":")[0]
    with pytest.raises(ValueError, match=f"01_teachers.yaml: {key} {said}") as caught:
        publish.check(path, yaml)
    assert "\n" not in str(caught.value)


def test_normalise_takes_out_what_differs_from_run_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = str(tmp_path)
    widget = {"output_type": "display_data"}
    widget |= {"data": {publish.WIDGET: {"model_id": "x"}}}
    said = [printed("1 of 2\n", "stderr")]
    said += [printed(f"saved {here}/reports/verify-paper/a.csv in {here}\n")]
    said += [printed("2 of 2\n", "stderr"), printed("<Thing at 0x7f3a>\n"), widget]
    said += [shown(text_plain="x")]
    found = publish.normalise(
        notebook(code("3f2a", "seeds = 1", *said, tags=("injected-parameters",)))
    )
    assert found["metadata"].keys() == {"kernelspec", "language_info"}
    assert found["metadata"]["language_info"]["version"] == "3.11"
    cell = found["cells"][0]
    assert cell["id"] == "injected-parameters"
    assert cell["metadata"] == {"tags": ["injected-parameters"]}
    first, second = cell["outputs"]
    assert first["text"] == ["saved reports/paper/a.csv in .\n", "<Thing>\n"]
    assert second["data"] == {"text/plain": "x"}
    assert publish.normalise(copy.deepcopy(found)) == found


def test_failure_names_the_cell_and_leaves_out_the_type_of_a_plain_sentence():
    error = {"output_type": "error", "traceback": [], "evalue": "my.csv is empty"}
    sentence = publish.failure(
        notebook(code("load", "", error | {"ename": "ValueError"}))
    )
    assert sentence == "my.csv is empty (cell load)"
    sentence = publish.failure(
        notebook(code("load", "", error | {"ename": "KeyError"}))
    )
    assert sentence == "KeyError: my.csv is empty (cell load)"
    sentence = publish.failure(
        notebook(code("load", "", error | {"ename": "TableError"}))
    )
    assert sentence == "my.csv is empty", "its place is in the table"
    assert publish.failure(notebook(text("a", "b"))) is None


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report of two executed notebooks, pages written."""
    folder = tmp_path_factory.mktemp("reports") / "verify-default"
    (folder / "notebooks").mkdir(parents=True)
    table = (
        '<style scoped>x</style><table border="1"><thead>'
        '<tr style="text-align: right;">'
        "<th></th><th>model</th><th>AUC</th></tr></thead><tbody><tr><th>0</th>"
        "<td>XGBoost</td><td>.87 [.86, .88]</td></tr></tbody></table>"
    )
    first = notebook(
        text("title", "# How soft?\n\nIt costs `$5`, $\\alpha T^2$:\n\n$$a \\pm b$$"),
        text("next", "[end](99_results.ipynb) or [images](03_kd_images.ipynb)"),
        code("parameters", "hidden_default = 1", tags=("parameters",)),
        code("injected-parameters", "seeds = 3", tags=("injected-parameters",)),
        code("grid-heatmap", "draw()", drawn("A map of <α> and T")),
        code("rows", "rows", shown(text_html=table, text_plain="PLAIN")),
        code(
            "claims", "c", printed("✓ a < b\n✗ TabNet wins\n"), printed("E", "stderr")
        ),
        code("said", "s", printed("n = 3 & more\n")),
    )
    for name, content in (("01_teachers", first), ("99_results", notebook())):
        path = folder / "notebooks" / f"{name}.ipynb"
        path.write_text(json.dumps(content))
    (folder / "notebooks" / "02_kd.failed.ipynb").write_text("{}")
    pages.write(folder)
    return folder


def test_a_page_shows_the_notebook_plainly(report):
    page = (report / "01_teachers.html").read_text()
    assert "<title>How soft?</title>" in page
    assert "<code>$5</code>" in page and page.count("<math") == 2
    assert "<msup><mi>T</mi><mn>2</mn></msup>" in page and "<mo>±</mo>" in page
    assert "hidden_default" not in page and "Parameters of this run" in page
    source = 'src="data:image/png;base64,iVBORw0KGgo="'
    assert f'alt="A map of &lt;α&gt; and T" {source}' in page
    assert '<td class="text">XGBoost</td><td>.87 [.86, .88]</td>' in page
    assert "PLAIN" not in page and "scoped" not in page
    assert '<li class="yes">a &lt; b</li>' in page
    assert '<li class="no">TabNet wins</li>' in page
    assert "<pre>n = 3 &amp; more\n</pre>" in page and ">E<" not in page
    assert '<p><a href="99_results.html">end</a> or images</p>' in page
    assert 'href="99_results.html">99_results&nbsp;→' in page


def test_pages_ask_no_other_host_and_run_nothing(report):
    names = {path.name for path in report.glob("*.html")}
    assert names == {"01_teachers.html", "99_results.html", "index.html"}
    for path in report.glob("*.html"):
        page = path.read_text()
        assert not re.search(r"<script|<link|<iframe|@import|url\(", page)
        assert not re.search(r"src=.(?!data:|figures/)", page)
        assert "verify-" not in page


def test_pages_have_the_same_bytes_twice(report):
    before = sums.digests(report)
    pages.write(report)
    assert sums.digests(report) == before


def test_a_formula_without_mathml_is_named():
    with pytest.raises(ValueError, match=r"no MathML for the formula \$\\nonsense x\$"):
        render.mathml(r"\nonsense x")


@pytest.fixture
def two(tmp_path):
    """Two reports with the same bytes; the first one's sums are written."""
    for name in ("one", "two"):
        for folder in ("tables", "figures", "notebooks", "ship", "measured", "runs"):
            (tmp_path / name / folder).mkdir(parents=True)
        (tmp_path / name / "tables/auc.csv").write_text("model,auc\na,0.5\nb,0.25\n")
        (tmp_path / name / "figures/map.svg").write_text("<svg/>")
        (tmp_path / name / "ship/student.kdb").write_bytes(b"12")
        (tmp_path / name / "index.html").write_text("<p>")
        (tmp_path / name / "measured/ms.csv").write_text(name)
        cells = [code("first", "1"), code("second", "2")]
        path = tmp_path / name / "notebooks/01.ipynb"
        path.write_text(json.dumps(notebook(*cells)))
    said = sums.write(tmp_path / "one")
    assert "1 figure, 1 page, 1 notebook, 1 shipped file, 1 table" in said
    return tmp_path / "one", tmp_path / "two"


def test_equal_reports_are_equal_whatever_was_measured(two):
    same, lines = sums.compare(*two)
    assert same and len(lines) == 1
    assert "measured" not in (two[0] / sums.NAME).read_text()


def test_differences_are_named_by_row_and_cell(two):
    one, again = two
    (again / "tables/auc.csv").write_text("model,auc\na,0.5\nb,0.251\nc,1\n")
    (again / "notebooks/01.ipynb").write_text(
        (again / "notebooks/01.ipynb")
        .read_text()
        .replace('"source": "2"', '"source": "3"')
    )
    (again / "figures/map.svg").unlink()
    (again / "tables/new.csv").write_text("a\n")
    same, lines = sums.compare(one, again)
    assert not same
    assert lines[:-1] == [
        "figures/map.svg: the second run did not write it",
        "notebooks/01.ipynb differs",
        "  cell second",
        "tables/auc.csv differs",
        "  - row 2: b,0.25",
        "  + row 2: b,0.251",
        "  + row 3: c,1",
        "  largest relative difference 0.004, in auc",
        "tables/new.csv: only the second run wrote it",
    ]


def test_a_file_changed_after_its_sum_was_written_is_told(two):
    (two[0] / "tables/auc.csv").write_text("model,auc\n")
    (two[1] / "tables/auc.csv").write_text("model,auc\nb,1\n")
    same, lines = sums.compare(*two)
    assert not same and "is not the file that SHA256SUMS names" in lines[0]


def test_readme_tables_come_from_paper_then_default(tmp_path, monkeypatch):
    for profile, auc in (("default", "0.5"), ("paper", "0.8123456")):
        folder = tmp_path / "reports" / profile / "tables"
        folder.mkdir(parents=True)
        (folder / "auc.csv").write_text(f"model,auc,note\na|b,{auc},x y\n")
    (tmp_path / "reports/default/tables/only.csv").write_text("n\n12345678\n")
    readme = tmp_path / "README.md"
    readme.write_text(
        "A\n<!-- table: auc auc model -->\nold\n<!-- end -->\nB\n"
        "<!-- table: only -->\n<!-- end -->\n<!-- table: later -->\n<!-- end -->\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"README\.md"):
        publish.readme(only_check=True)
    publish.readme(only_check=False)
    filled = readme.read_text()
    assert "| auc | model |\n| ---: | --- |\n| 0.8123 | a\\|b |\n<!-- end -->" in filled
    assert "| n |\n| ---: |\n| 12345678 |\n" in filled
    assert "<!-- table: later -->\n<!-- end -->" in filled and "old" not in filled
    publish.readme(only_check=True)


def test_a_readme_table_shows_the_rows_that_are_named_in_that_order(tmp_path):
    tables = tmp_path / "paper/tables"
    tables.mkdir(parents=True)
    (tables / "board-short.csv").write_text("n,system\n1,a/b\n2,c-d\n3,a/b\n4,e\n")
    head = "<!-- table: board-short system n : {} -->\n"
    text = head.format("c-d a/b") + "old\n<!-- end -->"
    filled = sums.fill(text, tmp_path)
    rows = ["| c-d | 2 |", "| a/b | 1 |", "| a/b | 3 |", "<!-- end -->"]
    assert filled.splitlines()[3:] == rows
    assert sums.fill(filled, tmp_path) == filled
    with pytest.raises(ValueError, match="asks for gone, not a row of"):
        sums.fill(head.format("e gone") + "<!-- end -->", tmp_path)


def test_normalise_puts_the_answer_under_the_title():
    one = notebook(text("title", "# Q"), code("work", "1"), code("answer", "a"))
    ids = [cell["id"] for cell in publish.normalise(one)["cells"]]
    assert ids == ["title", "answer", "work"]


def test_the_index_shows_answers_what_to_ship_data_and_figures(tmp_path):
    folder = tmp_path / "paper"
    for name in ("notebooks", "tables", "figures", "ledger"):
        (folder / name).mkdir(parents=True)
    says = code("answer", "a", shown(text_markdown="KD gains **+0.5**."))
    draws = code("heat", 'figures.save(figure, "heat")', drawn("A map of α and T"))
    for stem, cells in (("02_kd", [says, draws]), ("99_results", [says])):
        book = notebook(text("title", f"# {stem}?"), *cells)
        (folder / f"notebooks/{stem}.ipynb").write_text(json.dumps(book))
    (folder / "figures/heat.png").write_bytes(b"")
    (folder / "tables/rows-02.csv").write_text("source\nsecom-time\n")
    (folder / "tables/data.csv").write_text(
        "name,modality,kind,licence,page\nsecom,table,real,CC BY 4.0,\n"
        "mnist,image,real,CC BY-SA 3.0,\n"
    )
    (folder / "tables/ship.csv").write_text(
        "data,file,bytes,metric,value,low,high,escapes,fails,overkill,passes,decision\n"
        "secom,s.safetensors,2043,AUC,.61,.52,.7,7,9,1200,9000,Do not ship\n"
    )
    line = '{"code": "1", "machine": {"cpu": "x", "torch": "2"}}\n'
    (folder / "ledger/02.jsonl").write_text(2 * line)
    pages.write(folder)
    page = (folder / "index.html").read_text()
    assert page.count("KD gains <strong>+0.5</strong>") == 3  # on top, and two cards
    assert 'src="figures/heat.png" alt="A map of α and T"' in page
    for cell in ("2,043", "AUC 0.6100 [0.5200, 0.7000]", "7 of 9", "1,200 of 9,000"):
        assert f"<td>{cell}</td>" in page
    assert "CC BY 4.0" in page and "CC BY-SA 3.0" not in page
    assert "2 runs: cpu x, torch 2." in page and "of 1 versions of code" in page
    assert not (folder / "explorer.html").exists()  # nothing was swept


def test_the_explorer_has_each_cell_its_interval_and_its_seeds(tmp_path):
    assert not explorer.collect(tmp_path)["surfaces"]
    head = "source,kind,student,method,alpha,T,coefficient"
    (tmp_path / "image-sweep.csv").write_text(
        f"{head},acc,acc_low,acc_high,ece,n\n"
        "mnist,real,cnn,kd,0.50,4,,.97,.96,.98,.01,2\n"
        "mnist,real,cnn,dkd,0.50,4,8,.95,.94,.96,,2\n"
    )
    (tmp_path / "rows-03_kd_images.csv").write_text(
        f"{head},test_acc\n"
        "mnist,real,cnn,kd,0.5,4.0,,.969\nmnist,real,cnn,kd,0.5,4.0,,.971\n"
        "mnist,real,cnn,kd,0.5,8.0,,.5\nmnist,real,mlp,kd,0.5,4.0,,.6\n"
        "mnist,real,cnn,dkd,0.5,4.0,8,.95\n"
    )
    [surface] = explorer.collect(tmp_path)["surfaces"]
    shown = (surface["data"], surface["student"], surface["kind"])
    assert shown == ("MNIST", "cnn", "real")
    [kd], [dkd] = surface["methods"]["KD"], surface["methods"]["DKD, coefficient 8"]
    score, ece = [0.97, 0.96, 0.98, 0.969, 0.971], [0.01, None, None]
    assert kd == {"a": 0.5, "t": 4, "n": 2, "score": score, "ece": ece}
    assert dkd["score"] == [0.95, 0.94, 0.96]  # one seed of two: none is drawn
    assert explorer.collect(tmp_path)["surfaces"]


def test_the_command_line_turns_a_valueerror_into_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["publish", "bake", "x"])
    assert publish.main() == 1
    assert "not 'bake x'" in capsys.readouterr().err
