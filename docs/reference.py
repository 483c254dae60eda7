"""The book's reference of the Python package, from its docstrings: python docs/reference.py > docs/src/python.md"""

import enum
import importlib
import inspect
import re
import typing

MODULES = ["model", "conformal", "active", "optim", "federated", "masking", "epidemic", "gymnasium", "experiments", "flower"]


def prose(text: str) -> str:
    """A docstring as Markdown: examples fenced, sections as headings in bold, roles as code."""
    text = inspect.cleandoc(text or "")
    text = re.sub(r"^(Parameters|Raises|Returns|Notes)\n-+$", r"**\1**\n", text, flags=re.MULTILINE)
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")
    # Names of parameters with what follows on lines of their own.
    text = re.sub(r"^(\w[\w, ]*)\n    (?=\S)", r"* `\1`: ", text, flags=re.MULTILINE)
    text = re.sub(r"\n    (?=\* `)", "\n", text)
    out: list[str] = []
    fenced = literal = False
    for line in text.split("\n"):
        if line.startswith(">>>") and not fenced:
            out.append("```pycon")
            fenced = True
        if fenced and not line.strip():
            out.append("```")
            fenced = False
        if not fenced and not literal and out and out[-1].endswith("::") and not line.strip():
            out[-1] = out[-1][:-1]
            out += ["", "```python"]
            literal = True
            continue
        if literal and line and not line.startswith("    "):
            out.append("```\n")
            literal = False
        out.append(line[4:] if literal else line)
    return "\n".join(line.rstrip() for line in out + ["```"] * (fenced or literal))


def annotated(annotation: typing.Any) -> str:
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    text = re.sub(r"\b(typing|collections\.abc|numpy\.typing|os)\.", "", text)
    # Variables of types that stand for the object's own.
    return "Self" if re.fullmatch("[A-Z]", text) else text


def signature(value: typing.Any) -> str:
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    parts: list[str] = []
    keywords = False
    for parameter in found.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keywords:
            keywords = True
            parts.append("*")
        star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        text = star + parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {annotated(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            # A default that is an object says where it lies.
            shown = repr(parameter.default)
            text += " = " + ("…" if shown.startswith("<") else shown)
        parts.append(text)
    result = "" if found.return_annotation in (found.empty, None, "None") else f" -> {annotated(found.return_annotation)}"
    line = f"({', '.join(parts)}){result}"
    return line if len(line) < 100 else "(\n" + "".join(f"    {part},\n" for part in parts) + f"){result}"


def members(value: type) -> typing.Iterator[tuple[str, str, str]]:
    """Public methods and properties with their signatures and docstrings, those of bases too, by name of their definition."""
    seen: set[str] = set()
    for base in value.__mro__:
        if not base.__module__.startswith("lyceum"):
            continue
        for name, member in vars(base).items():
            if name.startswith("_") and name != "__call__" or name in seen:
                continue
            seen.add(name)
            if isinstance(member, property):
                yield name, "", member.__doc__ or ""
            elif isinstance(member, (staticmethod, classmethod)) or inspect.isfunction(member):
                function = getattr(value, name)
                yield name, signature(function), function.__doc__ or ""


def described(name: str, value: typing.Any) -> list[str]:
    if inspect.isclass(value):
        is_plain = issubclass(value, (tuple, Exception, enum.Enum))
        shape = [] if is_plain else ["```python", f"{name}{signature(value)}", "```", ""]
        lines = [f"### {name}", "", *shape, prose(value.__doc__ or ""), ""]
        for member, shape, text in members(value):
            called = name.lower() if member == "__call__" else f".{member}"
            shape = re.sub(r"\s+", " ", shape.replace("(\n    ", "(").replace(",\n)", ")"))
            lines += [f"* `{called}{shape}`\n\n  " + prose(text).replace("\n", "\n  "), ""]
        return lines
    if callable(value):
        return [f"### {name}", "", "```python", f"{name}{signature(value)}", "```", "", prose(value.__doc__ or ""), ""]
    return [f"### {name}", "", f"`{value!r}`", ""]


def main() -> None:
    print("# The Python package\n")
    print("`pip install` of a wheel gives the package `lyceum`. This chapter is made from its docstrings, whose examples run in the tests.\n")
    for name in MODULES:
        module = importlib.import_module(f"lyceum.{name}")
        print(f"## `lyceum.{name}`\n\n{prose(module.__doc__ or '')}\n")
        for public in sorted(module.__all__, key=lambda text: text.lower()):
            print("\n".join(described(public, getattr(module, public))))


if __name__ == "__main__":
    main()
