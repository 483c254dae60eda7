"""The walk-throughs of the book run, and give what they say they give."""

import doctest
import importlib
import inspect
import pathlib
import subprocess
import sys

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


def test_the_reference_is_what_the_docstrings_say():
    pytest.importorskip("flwr")
    script = BOOK.parent / "reference.py"
    made = subprocess.run([sys.executable, script], capture_output=True, text=True, encoding="utf-8", check=True).stdout
    assert made == (BOOK / "python.md").read_text(encoding="utf-8"), "python docs/reference.py > docs/src/python.md"


def test_everything_public_is_documented():
    for name in ["active", "conformal", "epidemic", "experiments", "federated", "masking", "optim"]:
        module = importlib.import_module(f"lyceum.{name}")
        for public in module.__all__:
            value = getattr(module, public)
            assert not callable(value) or inspect.getdoc(value), f"{name}.{public}"
            for member in vars(value) if inspect.isclass(value) else ():
                attribute = getattr(value, member)
                if not member.startswith("_") and (inspect.isfunction(attribute) or isinstance(attribute, property)):
                    assert inspect.getdoc(attribute), f"{name}.{public}.{member}"
