"""`lyceum.masking` as its users call it."""

import json
import os
import pickle
import subprocess

import numpy as np
import pytest
from lyceum import _native
from lyceum.masking import PMIMaskingCollator, Vocabulary
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", ".", "new", "york", "##ers", "times", "in", "the", "is", "a", "state"]
TEXT = "new york is in the new york state.\n" * 9 + "the state, a state in the new times.\n" * 9


@pytest.fixture
def tokenizer():
    core = Tokenizer(models.WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    return PreTrainedTokenizerFast(tokenizer_object=core, **special)


@pytest.fixture
def vocabulary(tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(TEXT)
    return Vocabulary.build([corpus], min_count=9)


def test_a_vocabulary_is_a_sequence(vocabulary, tmp_path):
    found = vocabulary[vocabulary.number("new york")]
    assert found.words == ("new", "york") and found.cut == "new|york" and ("new", "york") in vocabulary
    assert "york new" not in vocabulary and len(list(vocabulary)) == len(vocabulary) == len(vocabulary[:])
    assert vocabulary[-1] == vocabulary[len(vocabulary) - 1]
    with pytest.raises(IndexError, match="of"):
        vocabulary[len(vocabulary)]
    # ln(18/pairs) - ln(27/words) - ln(18/words): pairs do not cross the comma or the end of a line.
    pairs, words = 9 * 7 + 9 * (1 + 5), 9 * 8 + 9 * 8
    expected = np.log(18 / pairs) - np.log(27 / words) - np.log(18 / words)
    assert found.score == pytest.approx(expected, abs=1e-12) and found.count == 18
    assert [entry.score for entry in vocabulary if len(entry.words) == 2] == sorted((e.score for e in vocabulary if len(e.words) == 2), reverse=True)
    vocabulary.save(tmp_path / "saved", table=tmp_path / "saved.tsv")
    assert list(Vocabulary.open(tmp_path / "saved")) == list(vocabulary)
    header, *lines = (tmp_path / "saved.tsv").read_text().splitlines()
    assert header.split("\t") == ["n", "rank", "n-gram", "score", "count", "cut"]
    assert [tuple(line.split("\t")[2].split()) for line in lines] == [entry.words for entry in vocabulary]
    assert vocabulary.about["words"] == words and vocabulary.about["score"] == "pmi"


def test_letters_are_counted_not_bytes(vocabulary):
    text = "Ünïcödé: in New York, 東京"
    (found,) = [found for found in vocabulary.find(text) if found.text == "New York"]
    assert text[found.start : found.end] == "New York" and vocabulary[found.number].words == ("new", "york")


def test_mistakes_are_told(vocabulary, tmp_path, tokenizer):
    with pytest.raises(FileNotFoundError, match="none.txt"):
        Vocabulary.build([tmp_path / "none.txt"])
    with pytest.raises(ValueError, match="orders: found 9; allowed: 2 to 8"):
        Vocabulary.build([tmp_path / "corpus.txt"], orders=9)
    with pytest.raises(ValueError, match="memory: found '2 gigs'"):
        Vocabulary.build([tmp_path / "corpus.txt"], memory="2 gigs")
    with pytest.raises(TypeError, match="list of paths"):
        Vocabulary.build(tmp_path / "corpus.txt")
    (tmp_path / "bad").write_bytes(b"LYCEUMV1 and so on")
    with pytest.raises(ValueError, match="checksum"):
        Vocabulary.open(tmp_path / "bad")
    with pytest.raises(ValueError, match="vocabulary: found none"):
        PMIMaskingCollator(tokenizer)
    with pytest.raises(ValueError, match="share: found 1.5"):
        PMIMaskingCollator(tokenizer, vocabulary, mlm_probability=1.5)
    with pytest.raises(ValueError, match="method"):
        PMIMaskingCollator(tokenizer, vocabulary, method="none")
    collator = PMIMaskingCollator(tokenizer, vocabulary, return_tensors="np")
    with pytest.raises(ValueError, match="at least one"):
        collator([])
    with pytest.raises(ValueError, match="input_ids"):
        collator([{"ids": [1]}])
    with pytest.raises(TypeError):
        collator([{"input_ids": ["a"]}])


@pytest.mark.parametrize("side", ["right", "left"])
def test_it_stands_in_for_the_collator_of_transformers(vocabulary, tokenizer, side):
    tokenizer.padding_side = side
    examples = [tokenizer("new york is in the state"), tokenizer("a state"), tokenizer("the new yorkers, in new york.")]
    theirs = DataCollatorForLanguageModeling(tokenizer, return_tensors="np", pad_to_multiple_of=8)
    ours = PMIMaskingCollator(tokenizer, vocabulary, return_tensors="np", pad_to_multiple_of=8, seed=1)
    for given in (examples, [dict(example) for example in examples], [example["input_ids"] for example in examples]):
        expected, found = theirs(given), ours(given)
        assert set(found) == set(expected)
        for key in expected:
            assert found[key].shape == expected[key].shape and found[key].dtype == expected[key].dtype, key
        whole = np.where(found["labels"] == -100, found["input_ids"], found["labels"])
        padded = tokenizer.pad({"input_ids": [example["input_ids"] for example in examples]}, pad_to_multiple_of=8, return_tensors="np")
        assert (whole == padded["input_ids"]).all()
        if "attention_mask" in expected:
            assert (found["attention_mask"] == padded["attention_mask"]).all()
    given = [dict(example, special_tokens_mask=[1, 1] + [0] * (len(example["input_ids"]) - 2)) for example in examples]
    assert set(ours(given)) == set(theirs(given))
    arrays = [{key: np.array(value) for key, value in example.items()} for example in examples]
    assert set(ours(arrays)) == set(ours(examples))


@pytest.mark.parametrize("left", [False, True])
def test_rows_that_are_alike_are_padded_as_any(left):
    rows = [[2, 7, 7, 3], [2, 7, 7, 3], [2, 3], [2, 3], [2, 7, 7, 3], [2, -1, 300, 3], [2, -1, 300, 3], [], []]
    found = _native.pad(rows, 6, 1, 9, left)
    expected = [[9] * (6 - len(row)) + row if left else row + [9] * (6 - len(row)) for row in rows]
    assert found.tolist() == expected
    with pytest.raises(TypeError):
        _native.pad([[1, 2], [1, "2"]], 0, 1, 0, left)
    with pytest.raises(OverflowError):
        _native.pad([[1], [1 << 70]], 0, 1, 0, left)


def test_collocations_are_masked_together(vocabulary, tokenizer):
    row = tokenizer("new york is in the new york state")["input_ids"]
    collator = PMIMaskingCollator(tokenizer, vocabulary, mask_replace_prob=1.0, random_replace_prob=0.0, return_tensors="np", seed=2)
    labels = collator([row] * 2000)["labels"]
    assert ((labels[:, 1] == -100) == (labels[:, 2] == -100)).all()
    assert (labels[:, [0, -1]] == -100).all()
    assert (labels != -100)[:, 1:-1].mean() == pytest.approx(0.15, abs=0.01)


def test_a_seed_decides(vocabulary, tokenizer):
    rows = [tokenizer("new york is in the new york state")["input_ids"]] * 40

    def run(seed, sizes):
        collator, start, found = PMIMaskingCollator(tokenizer, vocabulary, return_tensors="np", seed=seed), 0, []
        for size in sizes:
            found.append(collator(rows[start : start + size])["labels"])
            start += size
        return np.concatenate(found)

    assert (run(1, [40]) == run(1, [7, 13, 20])).all() and (run(1, [40]) != run(2, [40])).any()
    again = pickle.loads(pickle.dumps(PMIMaskingCollator(tokenizer, vocabulary, return_tensors="np", seed=1)))
    assert (again(rows)["labels"] == run(1, [40])).all()


@pytest.mark.parametrize("method", ["whole-word", "token", "span"])
def test_baselines_need_no_vocabulary(tokenizer, method):
    collator = PMIMaskingCollator(tokenizer, method=method, return_tensors="np", seed=3)
    batch = collator([tokenizer("new yorkers in the new york state")] * 3000)
    assert (batch["labels"] != -100)[:, 1:-1].mean() == pytest.approx(0.15, abs=0.01)
    if method == "whole-word":
        assert ((batch["labels"][:, 2] == -100) == (batch["labels"][:, 3] == -100)).all()


def test_torch_tensors(vocabulary, tokenizer):
    torch = pytest.importorskip("torch")
    batch = PMIMaskingCollator(tokenizer, vocabulary, seed=1)([tokenizer("new york state"), torch.tensor([2, 7, 8, 3])][:1])
    assert batch["input_ids"].dtype == torch.int64 and batch["labels"].shape == batch["input_ids"].shape


def test_the_binary_reads_and_writes_the_same(vocabulary, tokenizer, tmp_path):
    lyceum = os.environ["LYCEUM"]
    subprocess.run([lyceum, "--quiet", "masking", "build", tmp_path / "corpus.txt", "--min-count", "9", "--out", tmp_path / "built"], check=True)
    vocabulary.save(tmp_path / "saved")
    assert (tmp_path / "built").read_bytes() == (tmp_path / "saved").read_bytes()
    tokenizer.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    arguments = ["--tokenizer", tmp_path / "tokenizer.json", "--vocabulary", tmp_path / "built", "--seed", "4", "--out", tmp_path / "rows"]
    subprocess.run([lyceum, "--quiet", "masking", "mask", tmp_path / "corpus.txt", *arguments], check=True)
    rows = [json.loads(line) for line in (tmp_path / "rows").read_text().splitlines()]
    collator = PMIMaskingCollator(tokenizer, vocabulary, return_tensors="np", seed=4)
    for line, row in zip(TEXT.splitlines(), rows, strict=True):
        assert collator([tokenizer(line)])["labels"].tolist() == [row["labels"]]
