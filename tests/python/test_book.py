"""The walk-throughs of the book run, and give what they say they give."""

import doctest
import importlib
import inspect
import pathlib
import re
import subprocess
import sys

import lyceum
import pytest

BOOK = pathlib.Path(__file__).parents[2] / "docs" / "src"
PAGES = sorted(BOOK.glob("walkthrough-*.md"))


def test_there_are_walkthroughs():
    assert [page.stem for page in PAGES] == ["walkthrough-active", "walkthrough-conformal"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_walkthrough(page):
    pytest.importorskip("sklearn")
    # A fence ends a block of output; lines keep their numbers.
    text = "\n".join("" if line.startswith("```") else line for line in page.read_text(encoding="utf-8").splitlines())
    examples = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    assert len(examples.examples) > 20
    told = []
    failed = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(examples, out=told.append).failed
    assert not failed, "".join(told)


ROOT = BOOK.parents[1]
SNIPPETS = {
    page: [block for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)]
    for page in [ROOT / "README.md", ROOT / "crates/python/README.md", *sorted(BOOK.glob("*.md"))]
    if page.stem not in ("python", "chess-python", *(walk.stem for walk in PAGES))
}
SNIPPETS = {page: blocks for page, blocks in SNIPPETS.items() if blocks}


@pytest.mark.parametrize("page", SNIPPETS, ids=lambda page: str(page.relative_to(ROOT)))
def test_snippets_can_be_pasted(page, tmp_path, monkeypatch):
    """Those of a page one after the other. Files of an app for Flower, which say what they are called, are only compiled."""
    run = lyceum.run
    short = {"training.epochs": 1, "data.name": "digits", "data.limit": 300}

    def shortened(recipe, **options):
        if isinstance(recipe, dict):
            return run(recipe, **options)
        return run(ROOT / recipe, **{**options, "set": {**options.get("set", {}), **short}})

    monkeypatch.setattr(lyceum, "run", shortened)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for number, block in enumerate(SNIPPETS[page], 1):
        code = compile(block, f"{page.name}, block {number}", "exec")
        for needed in ("torch", "transformers", "pandas", "flwr"):
            if f"import {needed}" in block or f"from {needed}" in block:
                pytest.importorskip(needed)
        if not block.startswith("# app/"):
            exec(code, names)


def test_the_reference_is_what_the_docstrings_say():
    pytest.importorskip("flwr")
    script = BOOK.parent / "reference.py"
    made = subprocess.run([sys.executable, script], capture_output=True, text=True, encoding="utf-8", check=True).stdout
    assert made == (BOOK / "python.md").read_text(encoding="utf-8"), "python docs/reference.py > docs/src/python.md"


def test_everything_public_is_documented():
    for name in ["active", "conformal", "epidemic", "experiments", "federated", "masking", "model", "optim"]:
        module = importlib.import_module(f"lyceum.{name}")
        for public in module.__all__:
            value = getattr(module, public)
            assert not callable(value) or inspect.getdoc(value), f"{name}.{public}"
            for member in vars(value) if inspect.isclass(value) else ():
                attribute = getattr(value, member)
                if not member.startswith("_") and (inspect.isfunction(attribute) or isinstance(attribute, property)):
                    assert inspect.getdoc(attribute), f"{name}.{public}.{member}"
