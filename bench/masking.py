"""`cargo xtask bench masking`: what builds and masks beside Lyceum.

masking.py words FOLDER OUT         the corpus as the splitter cuts it, a run a line, for programs that only cut at spaces
masking.py run WORK PEER COMMAND…   a program: its seconds and its peak memory
masking.py gensim WORDS COUNT       Phrases on the first COUNT words
masking.py tokenizer FOLDER OUT     a WordPiece tokeniser of 30,000 tokens, for the collators
masking.py collate PEER TOKENIZER VOCABULARY TEXT    rows as a tokenizer gives them, and with a special_tokens_mask
masking.py agree TEXT TABLE         a plain count of all n-grams of a text against what Lyceum built (min_count 10)

Prints a JSON line a measurement.
"""

import collections
import json
import math
import pathlib
import re
import resource
import subprocess
import sys
import time

RUN = re.compile(r"[^\w\s]|_|[\n\r\f\v]")
WORD = re.compile(r"\S+")


def say(work: str, peer: str, seconds: float, **more: object) -> None:
    print(json.dumps({"work": work, "peer": peer, "seconds": seconds, **more}), flush=True)


def runs(text: str) -> list[list[str]]:
    """Runs of words of ASCII text, as uncased BERT cuts them: signs and ends of lines end a run."""
    return [words for run in RUN.split(text.lower()) if (words := WORD.findall(run))]


def words(folder: str, out: str) -> None:
    with open(out, "w") as file:
        for path in sorted(pathlib.Path(folder).glob("*.txt")):
            for run in runs(path.read_text()):
                file.write(" ".join(run) + "\n")


def run(work: str, peer: str, *command: str) -> None:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    say(work, peer, seconds, peak_mb=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)


def gensim(path: str, count: str) -> None:
    from gensim.models.phrases import Phrases

    sentences, left = [], int(count)
    with open(path) as file:
        for line in file:
            sentences.append(line.split())
            left -= len(sentences[-1])
            if left <= 0:
                break
    start = time.perf_counter()
    found = Phrases(sentences, min_count=10, threshold=0.0, max_vocab_size=1 << 30, scoring="npmi").export_phrases()
    say("bigrams", "gensim", time.perf_counter() - start, bigrams=len(found))


def tokenizer(folder: str, out: str) -> None:
    from tokenizers import BertWordPieceTokenizer

    trained = BertWordPieceTokenizer()
    trained.train([str(path) for path in sorted(pathlib.Path(folder).glob("*.txt"))], vocab_size=30_000, show_progress=False)
    trained.save(out)


def collate(peer: str, tokenizer: str, vocabulary: str, text: str) -> None:
    from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(
        tokenizer_file=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]"
    )
    lines = [line for line in pathlib.Path(text).read_text().splitlines() if len(line) > 700][:3200]
    if peer == "lyceum":
        from lyceum.masking import PMIMaskingCollator

        collator = PMIMaskingCollator(fast, vocabulary)
    else:
        collator = DataCollatorForLanguageModeling(fast)
    # Without a mask of special tokens transformers asks its tokenizer for one, row by row.
    for work, mask in (("collate", False), ("collate-with-special-tokens-mask", True)):
        rows = [fast(line, truncation=True, max_length=128, return_special_tokens_mask=mask) for line in lines]
        rows = [dict(row) for row in rows if len(row["input_ids"]) == 128]
        batches = [rows[start : start + 32] for start in range(0, len(rows) - 31, 32)]
        times = []
        for _ in range(3):
            for batch in batches:
                given = [dict(row) for row in batch]
                start = time.perf_counter()
                out = collator(given)
                times.append(time.perf_counter() - start)
        assert out["labels"].shape == (32, 128)
        seconds = sorted(times)[len(times) // 2]
        say(work, peer, seconds, tokens_per_second=round(32 * 128 / seconds), batches=len(batches))


def agree(text: str, table: str) -> None:
    """Counts, PMI and the ranks of every n-gram, from a plain dictionary."""
    counts: list[collections.Counter[tuple[str, ...]]] = [collections.Counter() for _ in range(6)]
    for words in runs(pathlib.Path(text).read_text()):
        words = ["" if len(word) > 100 else word for word in words]
        for n in range(1, 6):
            for start in range(len(words) - n + 1):
                ngram = tuple(words[start : start + n])
                if "" not in ngram:
                    counts[n][ngram] += 1
    totals = [0] + [sum(count.values()) for count in counts[1:]]
    lines = pathlib.Path(table).read_text().splitlines()[1:]
    found = {}
    for line in lines:
        n, _, ngram, score, count, _ = line.split("\t")
        found[tuple(ngram.split())] = (float(score), int(count))

    def log_p(ngram: tuple[str, ...]) -> float:
        return math.log(counts[len(ngram)][ngram] / totals[len(ngram)])

    expected = {}
    for n in range(2, 6):
        for ngram, count in counts[n].items():
            if count >= 10:
                cuts = []
                for cut in range(1, 1 << (n - 1)):
                    places = [0] + [place + 1 for place in range(n - 1) if cut >> place & 1] + [n]
                    cuts.append(sum(log_p(ngram[a:b]) for a, b in zip(places, places[1:])))
                score = log_p(ngram) - max(cuts)
                if score > 1e-9:
                    expected[ngram] = (score, count)
    missing = [ngram for ngram in expected if ngram not in found]
    extra = [ngram for ngram, (score, _) in found.items() if ngram not in expected and score > 1e-9]
    wrong = [ngram for ngram, (score, count) in expected.items() if ngram in found and (found[ngram][1] != count or abs(found[ngram][0] - score) > 1e-9)]
    assert not missing and not extra and not wrong, (missing[:3], extra[:3], wrong[:3])
    print(json.dumps({"event": "agree", "megabytes": len(pathlib.Path(text).read_bytes()) / 1e6, "ngrams": len(expected)}), flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
