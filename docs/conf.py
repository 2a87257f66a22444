"""Sphinx configuration of the website: `make docs` builds it in build/docs, `make docs EXECUTE=1` runs the notebooks for it.

Notebooks and documents of the repository become pages by being copied or included, never by being written again. What they
link to in the repository is a page of the website where there is one, and a file to download otherwise.
"""

import inspect
import json
import os
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import nbformat

import asdkit
from asdkit import Config

EXECUTE = os.environ.get("EXECUTE", "").split()  # "1", or the numbers of some notebooks: "00 02"
QUIET = """import functools, os, tqdm.auto
tqdm.auto.tqdm = functools.partial(tqdm.std.tqdm, file=open(os.devnull, "w"))"""  # a page needs no progress bars
NOT_RUN = "\nThis copy of the website shows no outputs: `make docs EXECUTE=1` runs the notebooks for it.\n"
STATIC = "\nMenus, sliders and the panel of notebook 09 work in JupyterLab (`make lab`); these pages show them as they begin.\n"
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = {  # documents of the repository that are a page of the website
    "README.md": "/index.md", "CONTRIBUTING.md": "/contributing.md", "data/README.md": "/howto/dcase.md",
    "figures/README.md": "/results.md", "notebooks/README.md": "/walkthrough/index.md",
}  # fmt: skip

project, author, version = "asdkit", "the asdkit developers", asdkit.__version__
copyright = author
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
default_role = "py:obj"  # `name` in a docstring links to what has that name, if anything has
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_typehints = "none"  # docstrings say what goes in and comes out
toc_object_entries_show_parents = "hide"
myst_heading_anchors = 3

nb_execution_mode = "cache" if EXECUTE else "off"
nb_execution_excludepatterns = [p.name for p in NOTEBOOKS if EXECUTE != ["1"] and p.name[:2] not in EXECUTE]
nb_execution_cache_path = str(ROOT / "build" / "notebooks")
nb_execution_timeout = 1800  # seconds, a cell
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_render_markdown_format = "myst"  # which has tables
nb_mime_priority_overrides = [("html", "text/html", 5)]  # what a widget shows at first, rather than a widget without a kernel
os.environ["PLOTLY_RENDERER"] = "notebook"  # the script is in the page, which needs no network
os.environ.setdefault("OMP_NUM_THREADS", "1")

html_theme, html_title, html_static_path, html_css_files = "pydata_sphinx_theme", "asdkit", ["_static"], ["asdkit.css"]
html_sidebars = {page: [] for page in ("index", "results", "architecture", "contributing")}  # they have no pages below them
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "asdkit"}, "navbar_align": "left", "show_prev_next": False, "footer_start": ["copyright"],
    "footer_end": [], "navigation_with_keys": False, "show_toc_level": 2,
}  # fmt: skip
copybutton_exclude = ".linenos, .gp, .go"


def page_of(target: str, folder: Path) -> str:
    """What a link in a document of `folder` becomes: a page, or a file to download; a folder has neither."""
    path, _, anchor = target.partition("#")
    if "://" in target or not path:
        return target
    file = (folder / path).resolve()
    name = file.relative_to(ROOT).as_posix()
    if name.endswith(".ipynb"):
        return f"/walkthrough/{file.name}"
    if name.startswith("docs/"):
        return name.removeprefix("docs")
    return PAGES.get(name, f"/../{name}") + (f"#{anchor}" if anchor and name in PAGES else "")


def relink(text: str, folder: Path) -> str:
    """The text of a document with its links as they are on the website."""

    def link(match):
        folder_in_code = (folder / match[2].partition("#")[0]).is_dir() and "://" not in match[2]
        return f"{match[1]}" if folder_in_code else f"[{match[1]}]({page_of(match[2], folder)})"

    return re.sub(r"\[([^\]]*)\]\(([^)\s]+)\)", link, text)


def write(path: Path, text: str) -> None:
    """Only where it says something new, so that nothing is built again."""
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)


def copy_notebooks() -> None:
    """docs/walkthrough from whatever is in notebooks/; cells of checks are folded."""
    folder = HERE / "walkthrough"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.ipynb"):
        if not (ROOT / "notebooks" / old.name).is_file():
            old.unlink()
    for path in NOTEBOOKS:
        notebook = json.loads(path.read_text())
        for cell in notebook["cells"]:
            if "checks" in (tags := cell["metadata"].get("tags", [])):
                tags.append("hide-cell")
            if cell["cell_type"] == "markdown":
                cell["source"] = relink("".join(cell["source"]), path.parent)
        if EXECUTE:
            notebook["cells"].insert(0, nbformat.v4.new_code_cell(QUIET, id="quiet", metadata={"tags": ["remove-cell"]}))
        write(folder / path.name, json.dumps(notebook, indent=1))
    index = (ROOT / "notebooks" / "README.md").read_text().replace("# Notebooks", "# Walkthrough", 1)
    index = relink(index, ROOT / "notebooks")
    index += STATIC if EXECUTE else NOT_RUN
    write(folder / "index.md", f"{index}\n```{{toctree}}\n:hidden:\n\n" + "\n".join(p.stem for p in NOTEBOOKS) + "\n```\n")


def relink_included(app, relative_path, parent, content):
    """Links of a document that a page includes."""
    content[0] = relink(content[0], (HERE / relative_path).resolve().parent)


def document_fields(app, what, name, obj, options, lines):
    """The fields of a dataclass: the options of `Config` as a table, others with the comments beside them."""
    if what == "property":  # a colon is no type
        lines[:] = [line.replace(": ", ", ") for line in lines]
    if obj is Config:
        lines += ["", ".. list-table::", "   :header-rows: 1", "", "   * - option", "     - default", "     - meaning"]
        for field in fields(Config):
            default = ", ".join(field.default) if isinstance(field.default, tuple) else field.default
            low, high = field.metadata["low"], field.metadata["high"]
            bounds = "" if low is None or high >= 10**9 else f" ({low:g} to {high:g})"
            cells = (f"``{field.name}``", f"``{default}``", field.metadata["meaning"] + bounds)
            lines += [f"   {'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(cells)]
    elif what == "class" and is_dataclass(obj):
        commented = re.findall(r"^    (\w+): [^#\n]*  # (.+)$", inspect.getsource(obj), re.MULTILINE)
        lines += [f"- ``{field}``: {comment.replace('*', chr(92) + '*')}" for field, comment in commented] + [""]


def skip(app, what, name, obj, skipped, options):
    """The options of a configuration are in its table, and what the front door has is on its page alone."""
    elsewhere = what == "module" and getattr(asdkit, name, None) is obj and app.env.docname != "api/index"
    return True if elsewhere or (what == "class" and name in Config.__dataclass_fields__) else None


def setup(app):
    """Called by Sphinx before it looks for pages."""
    copy_notebooks()
    app.connect("include-read", relink_included)
    app.connect("autodoc-process-docstring", document_fields, priority=100)  # before napoleon
    app.connect("autodoc-skip-member", skip)
