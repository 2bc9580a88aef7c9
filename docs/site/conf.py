"""Sphinx's settings for the book's website; tools/site.py puts the pages beside this file and builds."""

project = "diffedu"
author = "The diffedu authors"
copyright = "The diffedu authors. Text and pictures CC BY 4.0, code MIT"
extensions = ["myst_nb"]
html_theme = "furo"
html_title = "diffedu"
html_static_path = ["static"]
html_css_files = ["book.css"]
html_js_files = [("mixture.js", {"defer": "defer"}), ("play.js", {"defer": "defer"})]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
exclude_patterns = ["static"]
nb_execution_mode = "off"
nb_output_stderr = "remove"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_dmath_double_inline = True
myst_heading_anchors = 3
# MathJax lies beside the pages, so that none of them asks for anything from elsewhere.
mathjax_path = "mathjax/tex-svg-full.js"
mathjax3_config = {"svg": {"fontCache": "global"}, "options": {"enableMenu": False}}
suppress_warnings = ["misc.highlighting_failure"]
