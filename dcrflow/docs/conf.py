"""Sphinx: pages from Markdown and docstrings; tables of options and figures are made from the code and the notebooks.

sphinx-build -W dcrflow/docs OUT
"""

from __future__ import annotations

import base64
import inspect
import json
import shutil
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.main import get_command

from dcrflow.base.version import __version__
from dcrflow.cli.app import app as command_line
from dcrflow.cli.console import PANEL
from dcrflow.cluster import KINDS
from dcrflow.model.config import TemplateConfig
from dcrflow.simulate.survey import SurveyConfig, VisitConfig

project, author, release = "dcrflow", "the dcrflow developers", __version__
project_copyright = author
extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 2
nb_execution_mode = "off"  # pages show what the notebooks printed when they were last run
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
html_theme = "furo"
html_title = f"dcrflow {release}"
exclude_patterns = ["_made/*.part.md"]

HERE = Path(__file__).parent
NOTEBOOKS = HERE.parents[1] / "notebooks"


def allowed(field: FieldInfo) -> str:
    """The values that a key takes, in words: a list, a range, or a type."""
    literals = _literals(field.annotation)
    if literals:
        return ", ".join(f"`{value}`" for value in literals)
    signs = {"Ge": "≥", "Gt": ">", "Le": "≤", "Lt": "<"}
    parts = [field, *(m for m in field.metadata), *_constraints(field.annotation)]
    bounds = [
        f"{signs[type(m).__name__]} {getattr(m, type(m).__name__.lower()):g}"
        for m in parts
        if type(m).__name__ in signs
    ]
    return ", ".join(dict.fromkeys(bounds))


def _literals(annotation: Any) -> list[Any]:
    """All values of Literals in an annotation, None among them where it may be left open."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    found = [_literals(part) for part in get_args(annotation)]
    return [value for values in found for value in values]


def _constraints(annotation: Any) -> list[Any]:
    """What `Annotated` says anywhere inside an annotation."""
    own = list(getattr(annotation, "__metadata__", ()))
    for one in list(own):
        own += getattr(one, "metadata", [])
    return own + [m for part in get_args(annotation) if not isinstance(part, str) for m in _constraints(part)]


def options_table(model: type[BaseModel]) -> str:
    """A Markdown table of a configuration's keys: default, allowed values, meaning and unit."""
    lines = ["| key | default | allowed | what it is |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else f"`{field.get_default(call_default_factory=True)}`"
        cells = [f"`{name}`", default, allowed(field), field.description or ""]
        lines.append("| " + " | ".join(c.replace("|", chr(92) + "|") for c in cells) + " |")
    return "\n".join(lines) + "\n"


def command_pages() -> str:
    """Markdown of every command with its arguments and options."""
    parts = []

    def describe(command: Any, path: str) -> None:
        if hasattr(command, "commands"):
            for name, one in command.commands.items():
                describe(one, f"{path} {name}")
            return
        lines = [f"## `{path}`", "", inspect.cleandoc(command.help or ""), "", "| | |", "|---|---|"]
        for parameter in command.params:
            names = (parameter.name or "") if parameter.param_type_name == "argument" else ""
            label = names.upper() or ", ".join(f"`{o}`" for o in parameter.opts)
            shown = getattr(parameter, "help", "") or ""
            if parameter.default not in (None, False, ()) and not callable(parameter.default) and not names:
                shown += f" Default: `{parameter.default}`."
            if getattr(parameter, "rich_help_panel", None) == PANEL:
                continue  # described once for all commands
            lines.append(f"| {label} | {shown.replace('|', chr(92) + '|')} |")
        shown = [line.replace(chr(92) + "[", "[") for line in (command.epilog or "").split("\n\n")[1:]]
        if shown:
            lines += ["", "```text", *(f"$ {line}" for line in shown), "```"]
        parts.append("\n".join(lines) + "\n")

    describe(get_command(command_line), "dcrflow")
    return "\n".join(parts)


def figures(notebook: Path, out: Path) -> None:
    """Save the figures that a notebook printed, as NAME-0.jpeg and so on."""
    number = 0
    for cell in json.loads(notebook.read_text())["cells"]:
        for output in cell.get("outputs", []):
            for kind, text in output.get("data", {}).items():
                if kind.startswith("image/"):
                    data = base64.b64decode("".join(text))
                    (out / f"{notebook.stem[:2]}-{number}.{kind.removeprefix('image/')}").write_bytes(data)
                    number += 1


def make_parts(_: Any) -> None:
    """Write what the pages include."""
    out = HERE / "_made"
    out.mkdir(exist_ok=True)
    models: dict[str, type[BaseModel]] = {
        "template": TemplateConfig,
        "survey": SurveyConfig,
        "visit": VisitConfig,
        **KINDS,
    }
    for name, model in models.items():
        (out / f"{name}.part.md").write_text(options_table(model))
    (out / "commands.part.md").write_text(command_pages())
    for notebook in NOTEBOOKS.glob("*.ipynb"):
        figures(notebook, out)
        shutil.copy(notebook, out)  # Sphinx reads pages below its own folder alone


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("builder-inited", make_parts)
