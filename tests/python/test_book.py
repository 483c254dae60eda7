"""The walk-throughs of the book run, and give what they say they give."""

import doctest
import pathlib

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
