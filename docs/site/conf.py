"""Sphinx's settings for the book's website; tools/site.py puts the pages beside this file and builds."""

import re

from docutils import nodes

project = "diffedu"
author = "The diffedu authors"
copyright = "The diffedu authors. Text and pictures CC BY 4.0, code MIT"
extensions = ["myst_nb"]
html_theme = "furo"
html_title = "diffedu"
html_static_path = ["static"]
html_favicon = "static/icon.svg"
html_css_files = ["book.css"]
html_js_files = [("mixture.js", {"defer": "defer"}), ("play.js", {"defer": "defer"})]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # a summary is fetched, which a browser refuses to pages opened from a disk
exclude_patterns = ["static", "extra"]
html_extra_path = ["extra"]
nb_execution_mode = "off"
nb_output_stderr = "remove"
myst_enable_extensions = ["dollarmath", "amsmath", "attrs_block"]
myst_dmath_double_inline = True
myst_heading_anchors = 3
# MathJax lies beside the pages, so that none of them asks for anything from elsewhere.
mathjax_path = "mathjax/tex-svg-full.js"
mathjax3_config = {"svg": {"fontCache": "global"}, "options": {"enableMenu": False}}
suppress_warnings = ["misc.highlighting_failure"]


def mend_equations(app, tree):
    r"""Give MathJax each equation as it was written, and the reader a link to each numbered one.

    Sphinx puts whatever has a `\\` in it into a `split`, which allows no `\tag`: a matrix in a numbered equation would
    become an error message. It also repeats an equation's id in the element around it, and ids must be unique.
    """
    for block in list(tree.findall(nodes.math_block)):
        text = block.astext()
        if "\\\\" in text and not block.get("no-wrap", block.get("nowrap")):
            block["no-wrap"] = block["nowrap"] = True
            block[:] = [nodes.Text(rf"\[{text}\]")]
        numbers = re.findall(r"\\tag\{([\d.]+)\}", text)
        if not numbers:
            continue
        links = "".join(
            f'<a class="equation-link" href="#eq-{number.replace(".", "-")}" '
            f'title="Link to equation ({number})" aria-label="Link to equation ({number})">#</a>'
            for number in numbers
        )
        block.parent.insert(block.parent.index(block) + 1, nodes.raw("", links, format="html"))


def unrepeat_ids(app, tree, name):
    for block in tree.findall(nodes.math_block):
        above = block.parent.get("ids", [])
        block["ids"] = [i for i in block["ids"] if i not in above]


def setup(app):
    app.connect("doctree-read", mend_equations)
    app.connect("doctree-resolved", unrepeat_ids)
