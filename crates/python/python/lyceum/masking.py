"""Collocations of a corpus, and PMI-masking for masked language models (Levine et al., ICLR 2021).

A vocabulary is built once, from files of any size::

    vocabulary = Vocabulary.build(["wiki.jsonl.zst"], memory="8G")
    vocabulary.save("collocations")

and masks in place of transformers' own collator::

    collator = PMIMaskingCollator(tokenizer, Vocabulary.open("collocations"))
    loader = DataLoader(dataset, batch_size=32, collate_fn=collator)

>>> import tempfile, pathlib
>>> corpus = pathlib.Path(tempfile.mkdtemp(), "corpus.txt")
>>> _ = corpus.write_text("new york is in new york state\\n" * 9 + "a new state is in the making\\n")
>>> vocabulary = Vocabulary.build([corpus], min_count=9)
>>> "new york" in vocabulary
True
>>> [found.text for found in vocabulary.find("To New York, by train")]
['New York']
"""

from __future__ import annotations

import importlib
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union

import numpy as np
from numpy.typing import NDArray

from . import _native
from ._arrays import array
from ._options import dumped

__all__ = ["Collocation", "Found", "PMIMaskingCollator", "Vocabulary"]

PathLike = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class Collocation:
    """An n-gram of a vocabulary: its words, its score, how often it is in the corpus, and the cut that decides the score."""

    words: tuple[str, ...]
    score: float
    count: int
    cut: str


class Found(NamedTuple):
    """A collocation in a text: its number in the vocabulary, where it begins and ends, and its text."""

    number: int
    start: int
    end: int
    text: str


def _bytes(memory: Union[int, str]) -> int:
    if isinstance(memory, int):
        return memory
    units = {"K": 10, "M": 20, "G": 30, "T": 40}
    digits, unit = (memory[:-1], memory[-1].upper()) if memory[-1:].upper() in units else (memory, "")
    if not digits.isdecimal():
        raise ValueError(f"memory: found {memory!r}; allowed: a number of bytes, or with K, M, G or T, for example '2G'")
    return int(digits) << units.get(unit, 0)


class Vocabulary(Sequence[Collocation]):
    """Collocations, those of each length together and the strongest first. Made by `build` or `open`."""

    def __init__(self, native: _native.Vocabulary) -> None:
        self._native = native

    @classmethod
    def build(
        cls,
        corpus: Sequence[PathLike],
        *,
        orders: int = 5,
        min_count: int = 10,
        size: int = 800_000,
        shares: Sequence[float] = (),
        score: Literal["pmi", "naive-pmi", "frequency"] = "pmi",
        least: Union[float, None] = None,
        lowercase: bool = True,
        punctuation: Literal["boundary", "word", "skip"] = "boundary",
        lines: bool = True,
        numbers: bool = True,
        tokenizer: Union[PathLike, None] = None,
        format: Literal["auto", "text", "jsonl", "parquet"] = "auto",
        field: str = "text",
        memory: Union[int, str] = "2G",
        work: Union[PathLike, None] = None,
        progress: bool = False,
    ) -> Vocabulary:
        """Counts all n-grams of the files exactly, scores those that are there `min_count` times or more, and takes `size` of them.

        `orders`: the longest n-grams, in words. `shares`: the share of each length from 2 on; all the same by default, and what a
        length does not fill goes to the others. `score`: "pmi" is the least mutual information over all ways to cut the n-gram.
        `least`: the least score, 0 by default for mutual information. Words are cut as uncased BERT does, or by a `tokenizer`
        (the path of its JSON); `punctuation` and ends of `lines` end n-grams, and numbers too where `numbers` is False. `field` of JSON lines, or column of Parquet files.
        `memory` decides how fast it is, never what is built. `work` is a folder for what lies on the disk meanwhile: with one, a
        build that was killed goes on. `progress`: whether progress is shown on standard error.
        """
        config = {
            "orders": orders, "min_count": min_count, "format": format, "field": field, "memory": _bytes(memory),
            "select": {"score": score, "size": size, "shares": [float(share) for share in shares], "least": least},
            "splitting": {"lowercase": lowercase, "punctuation": punctuation, "lines": lines, "numbers": numbers},
            "tokenizer": None if tokenizer is None else os.fspath(tokenizer),
        }
        if isinstance(corpus, (str, os.PathLike)):
            raise TypeError("corpus must be a list of paths")
        paths = [Path(path) for path in corpus]
        if work is not None:
            return cls(_native.Vocabulary.build(paths, dumped(config), Path(work), progress))
        with tempfile.TemporaryDirectory(prefix="lyceum-masking-") as folder:
            return cls(_native.Vocabulary.build(paths, dumped(config), Path(folder, "work"), progress))

    @classmethod
    def open(cls, path: PathLike, tokenizer: Union[PathLike, None] = None) -> Vocabulary:
        """Maps a vocabulary that `save` or ``lyceum masking build`` wrote. `tokenizer`: the one whose words it has, if any."""
        return cls(_native.Vocabulary.open(Path(path), None if tokenizer is None else Path(tokenizer)))

    def save(self, path: PathLike, table: Union[PathLike, None] = None) -> None:
        """Writes the vocabulary, and a `table` of tab-separated values for other programs."""
        self._native.save(Path(path), None if table is None else Path(table))

    @property
    def about(self) -> dict[str, Any]:
        """What it was made of."""
        found: dict[str, Any] = json.loads(self._native.about())
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return _vocabulary, self._native.to_bytes()

    def __len__(self) -> int:
        return len(self._native)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= number < len(self):
            raise IndexError(f"collocation {index} of {len(self)}")
        words, score, count, cut = self._native.get(number)
        return Collocation(tuple(words), score, count, cut)

    def __iter__(self) -> Iterator[Collocation]:
        return (self[number] for number in range(len(self)))

    def __contains__(self, ngram: object) -> bool:
        return self.number(ngram) is not None

    def number(self, ngram: Any) -> Union[int, None]:
        """The number of an n-gram, a string or its words; None if it is not in the vocabulary."""
        words = ngram.split() if isinstance(ngram, str) else list(ngram)
        return self._native.number(words)

    def find(self, text: str) -> list[Found]:
        """The collocations of a text: the longest at each word, from left to right, without overlap."""
        return [Found(number, start, end, text[start:end]) for number, start, end in self._native.find(text)]


class PMIMaskingCollator:
    """Pads and masks a batch, in place of transformers' `DataCollatorForLanguageModeling`: the same input, the same keys out.

    Units are drawn until `mlm_probability` of the tokens are chosen, in expectation exactly; each unit is replaced as a whole by
    masks (`mask_replace_prob`), random tokens (`random_replace_prob`), or stays. `method`: "collocations" (of the `vocabulary`,
    and words outside of them), "whole-word", "token", or "span" (as SpanBERT, `span` = (p, most words)). `tokenizer` is a fast
    tokenizer of transformers; its padding and truncation do not matter. With a `seed` what is masked depends on it and on how many
    rows came before, alone; in worker processes of a DataLoader also on the seed that the loader gives each worker for each epoch, so
    that epochs differ, and are the same again after `torch.manual_seed`. A collator can be pickled.
    """

    def __init__(
        self,
        tokenizer: Any,
        vocabulary: Union[Vocabulary, PathLike, None] = None,
        mlm_probability: float = 0.15,
        mask_replace_prob: float = 0.8,
        random_replace_prob: float = 0.1,
        method: Literal["collocations", "whole-word", "token", "span"] = "collocations",
        span: tuple[float, int] = (0.2, 10),
        pad_to_multiple_of: Union[int, None] = None,
        return_tensors: Literal["pt", "np"] = "pt",
        seed: Union[int, None] = None,
    ) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise TypeError("tokenizer must be a fast one (with a backend_tokenizer): AutoTokenizer.from_pretrained(..., use_fast=True)")
        if method not in ("collocations", "whole-word", "token", "span"):
            raise ValueError(f"method: found {method!r}; allowed: 'collocations', 'whole-word', 'token', 'span'")
        if return_tensors not in ("pt", "np"):
            raise ValueError(f"return_tensors: found {return_tensors!r}; allowed: 'pt', 'np'")
        if isinstance(vocabulary, (str, os.PathLike)):
            vocabulary = Vocabulary.open(vocabulary)
        self.tokenizer, self.vocabulary, self.method, self.mlm_probability = tokenizer, vocabulary, method, mlm_probability
        self.pad_to_multiple_of, self.return_tensors = pad_to_multiple_of, return_tensors
        self.seed = secrets.randbits(63) if seed is None else seed
        self.rows = 0
        self._worker: Union[tuple[int, int], None] = None
        self._tokenizer_json: str = backend.to_str()
        self._options: dict[str, Any] = {
            "method": {"span": {"p": span[0], "longest": span[1]}} if method == "span" else method,
            "share": mlm_probability, "mask": mask_replace_prob, "random": random_replace_prob,
        }
        self._start()

    def _start(self) -> None:
        native = self.vocabulary._native if self.vocabulary is not None and self.method == "collocations" else None
        tokenizer = self.tokenizer
        self._masker = _native.Masker(
            self._tokenizer_json, dumped(self._options), native, tokenizer.mask_token, self.seed
        )
        names = getattr(tokenizer, "model_input_names", ["input_ids", "attention_mask"])
        self._left = getattr(tokenizer, "padding_side", "right") == "left"
        self._fill = {"input_ids": tokenizer.pad_token_id, "attention_mask": 0, "token_type_ids": getattr(tokenizer, "pad_token_type_id", 0)}
        self._attention = "attention_mask" in names

    def __call__(self, examples: Sequence[Any], return_tensors: Union[str, None] = None) -> Any:
        """A batch of examples: mappings with `input_ids`, or rows of ids. A mapping with `input_ids`, `labels` (-100 where nothing
        is to be predicted), and for mappings `attention_mask` and whatever else they have."""
        if not examples:
            raise ValueError("examples: found none; allowed: at least one")
        mappings = isinstance(examples[0], Mapping)
        if not mappings:
            examples = [{"input_ids": example} for example in examples]
        first = examples[0]
        if "input_ids" not in first:
            raise ValueError(f"examples: found the keys {sorted(first)}; allowed: with `input_ids`")
        columns = {key: [example[key] for example in examples] for key in first if key != "labels"}
        batch = {"input_ids": self._pad(columns.pop("input_ids"), "input_ids")}
        rows, length = batch["input_ids"].shape
        special = columns.pop("special_tokens_mask", None)
        for key, values in columns.items():
            batch[key] = self._pad(values, key, length) if key in self._fill else np.asarray(values)
        if mappings and self._attention and "attention_mask" not in batch:
            sizes = np.array([len(example["input_ids"]) for example in examples])[:, None]
            places = np.arange(length)[None]
            batch["attention_mask"] = (places >= length - sizes if self._left else places < sizes).astype(np.int64)
        mask = None if special is None else _native.pad(self._rows(special), length, 1, 1, self._left)
        worker = _worker()
        if worker != self._worker:
            # Another epoch of a worker: its rows are counted from the start.
            self._worker, self.rows = worker, 0
        batch["labels"] = self._masker.mask(batch["input_ids"], mask, worker, self.rows)
        self.rows += rows
        return self._tensors(batch, return_tensors or self.return_tensors)

    def _pad(self, values: list[Any], key: str, width: int = 0) -> NDArray[np.int64]:
        fill = self._fill[key]
        if fill is None:
            if len({len(value) for value in values}) > 1 or self.pad_to_multiple_of:
                raise ValueError("examples differ in length, and the tokenizer has no pad token; set tokenizer.pad_token")
            fill = 0
        return _native.pad(self._rows(values), width, self.pad_to_multiple_of or 1, fill, self._left)

    @staticmethod
    def _rows(values: list[Any]) -> list[Any]:
        """Lists as they are, anything else (arrays, tensors) as an array."""
        return values if isinstance(values[0], list) else [array(value, np.int64, 1, "a row") for value in values]

    @staticmethod
    def _tensors(batch: dict[str, Any], kind: str) -> Any:
        if kind == "pt":
            torch: Any = importlib.import_module("torch")
            batch = {key: torch.from_numpy(value) for key, value in batch.items()}
        try:
            transformers: Any = importlib.import_module("transformers")
        except ImportError:
            return batch
        return transformers.BatchEncoding(batch)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_masker"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()


def _vocabulary(content: bytes, tokenizer: Union[str, None]) -> Vocabulary:
    return Vocabulary(_native.Vocabulary.from_bytes(content, tokenizer))


def _worker() -> Union[tuple[int, int], None]:
    """The number of this worker process of a DataLoader, from 1, and its seed, another one in each epoch; None outside of one."""
    torch: Any = sys.modules.get("torch")
    info = None if torch is None else torch.utils.data.get_worker_info()
    return None if info is None else (int(info.id) + 1, int(info.seed))
