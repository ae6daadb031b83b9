"""How the site is built: ``tox -e docs``, or ``sphinx-build -W docs docs/_build/html`` with the extra ``docs``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
sys.path.insert(0, str(Path(__file__).parent / "experiments"))

import refreeze

project = "refreeze"
project_copyright = "the refreeze authors, Apache-2.0"
author = "the refreeze authors"
version = release = refreeze.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "refreeze_docs"]
exclude_patterns = ["_build", "experiments/results"]
nitpicky = False
language = "en"
smartquotes = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"refreeze {release}"
html_static_path = ["_static"]
html_css_files = ["refreeze.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "default"
pygments_dark_style = "native"

# Docstrings are read without Keras and PyTorch: the site builds in seconds, and the engines' pages need neither.
autodoc_mock_imports = ["keras", "tensorflow", "sklearn", "torch", "jax", "lightning", "transformers"]
viewcode_follow_imported_members = False  # an alias of a built-in type has no source to show
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {"Figure": "matplotlib.figure.Figure"}  # imported for types only
autodoc_default_options = {"members": True, "special-members": "__call__", "show-inheritance": True}
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
