"""What runs in other processes: forked, spawned, and the workers of a PyTorch DataLoader."""

import multiprocessing
import os
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
from lyceum import active, conformal, optim
from lyceum.epidemic import Simulation
from lyceum.masking import PMIMaskingCollator, Vocabulary
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

LIMIT = 60.0
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(4_000, 10)).astype(np.float32)
LABELS = RNG.integers(0, 10, 4_000)
GRADIENTS = [RNG.normal(size=300_000).astype(np.float32) for _ in range(2)]

WORK = {
    "sets": lambda: conformal.RAPS(lam=0.1, k_reg=1).fit(LOGITS, LABELS).predict(LOGITS).indices,
    "entropy": lambda: active.entropy(np.full((4_000, 10), 0.1)),
    "sampler": lambda: active.Sampler(100_000, random_state=1).draw(np.ones(100_000), 5),
    "combiner": lambda: optim.combine(GRADIENTS, "nash-mtl"),
    "simulation": lambda: Simulation(people=2_000, days=3, initially_infected=0.01).run()["infectious"],
}


def in_a_child(work, kind="fork"):
    """What a child process makes of some work; an error where it takes too long."""
    context = multiprocessing.get_context(kind)
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_send, args=(theirs, work), daemon=True)
    child.start()
    theirs.close()
    try:
        assert ours.poll(LIMIT), "the child hangs"
        return ours.recv()
    finally:
        child.kill()
        child.join()


def _send(pipe, work):
    pipe.send(work())


@pytest.mark.parametrize("name", WORK)
def test_a_forked_child_works_as_its_parent_does(name):
    expected = WORK[name]()  # The pool of threads has been used now.
    np.testing.assert_array_equal(in_a_child(WORK[name]), expected)
    np.testing.assert_array_equal(in_a_child(lambda: in_a_child_of_a_child(WORK[name])), expected)
    np.testing.assert_array_equal(WORK[name](), expected)


def in_a_child_of_a_child(work):
    multiprocessing.current_process().daemon = False
    work()
    return in_a_child(work)


def test_environments_in_processes_of_their_own():
    gymnasium = pytest.importorskip("gymnasium")
    from lyceum.epidemic import epidemic_env

    WORK["simulation"]()
    make = lambda: epidemic_env(people=400, days=14, initially_infected=0.02)  # noqa: E731
    envs = gymnasium.vector.AsyncVectorEnv([make, make])
    try:
        envs.reset(seed=1)
        seen, rewards, over, _, _ = envs.step(np.array([0, 3]))
        assert seen.shape == (2, 8) and np.isfinite(rewards).all() and not over.any()
    finally:
        envs.close(terminate=True)


# Masking

NAMES = ["new york", "san francisco", "prime minister"]
FILL = "the a of in to and is was for on with at by from state people house river mountain walking talked quickly".split()


def _lines():
    draw = random.Random(0)
    lines = []
    for _ in range(600):
        words = [draw.choice(NAMES) if draw.random() < 0.4 else draw.choice(FILL) for _ in range(draw.randint(4, 9))]
        lines.append(" ".join(words).capitalize() + ".")
    return lines


LINES = _lines()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
KINDS = ["WordPiece", "byte-level BPE", "BPE with </w>", "Unigram", "WordLevel"]
PADDINGS = ["none", "max_length", "saved"]


def _train(kind):
    plain = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()])
    options = {"special_tokens": SPECIAL, "show_progress": False}
    if kind == "WordPiece":
        core, trainer = Tokenizer(models.WordPiece(unk_token="[UNK]")), trainers.WordPieceTrainer(vocab_size=150, **options)
        core.pre_tokenizer, core.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    elif kind == "byte-level BPE":
        core = Tokenizer(models.BPE())
        trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **options)
        core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    elif kind == "BPE with </w>":
        core = Tokenizer(models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"))
        trainer = trainers.BpeTrainer(vocab_size=150, end_of_word_suffix="</w>", **options)
        core.pre_tokenizer, core.decoder = pre_tokenizers.BertPreTokenizer(), decoders.BPEDecoder(suffix="</w>")
    elif kind == "Unigram":
        core, trainer = Tokenizer(models.Unigram()), trainers.UnigramTrainer(vocab_size=150, unk_token="[UNK]", **options)
        core.pre_tokenizer, core.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    else:
        core, trainer = Tokenizer(models.WordLevel(unk_token="[UNK]")), trainers.WordLevelTrainer(**options)
        core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.normalizer = plain
    core.train_from_iterator(LINES, trainer)
    ends = [(token, core.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    core.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return _fast(core.to_str())


def _fast(text):
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(text), **names)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    corpus = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    corpus.write_text("\n".join(LINES))
    return Vocabulary.build([corpus], min_count=20)


@pytest.fixture(scope="module", params=KINDS)
def trained(request):
    return _train(request.param).backend_tokenizer.to_str()


def _tokenizer(trained, padding, folder):
    tokenizer = _fast(trained)
    if padding != "none":
        # The call leaves padding and truncation in the tokenizer, and they are saved with it.
        tokenizer("x", padding="max_length", max_length=40, truncation=True)
    if padding == "saved":
        tokenizer.save_pretrained(folder)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    return tokenizer


def _examples(tokenizer, padding):
    """Rows of a dataset, and of each the tokens of every name in it."""
    more = {} if padding == "none" else {"padding": "max_length", "max_length": 40, "truncation": True}
    rows, names = [], []
    for number, line in enumerate(LINES[:64]):
        encoded = tokenizer(line, return_offsets_mapping=True, **more)
        offsets = encoded.pop("offset_mapping")
        rows.append({"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"], "index": number})
        found = []
        for name in NAMES:
            start = line.lower().find(name)
            while start >= 0:
                end = start + len(name)
                # A byte-level token begins with its space.
                found.append([place for place, (a, b) in enumerate(offsets) if b > a and max(a, start) < min(b, end)])
                start = line.lower().find(name, end)
        names.append(found)
    return rows, names


def _check(batch, names, pad):
    """No name is masked in part, no padding is; how many names are masked, of how many."""
    ids, labels = np.asarray(batch["input_ids"]), np.asarray(batch["labels"])
    masked = total = 0
    for row, index in enumerate(np.asarray(batch["index"])):
        assert (labels[row][ids[row] == pad] == -100).all()
        for places in names[int(index)]:
            chosen = {bool(labels[row][place] != -100) for place in places}
            assert len(chosen) == 1, (LINES[int(index)], places)
            masked, total = masked + chosen.pop(), total + 1
    return masked, total


@pytest.mark.parametrize("padding", PADDINGS)
def test_names_are_masked_whole_by_every_tokenizer(trained, padding, vocabulary, tmp_path):
    tokenizer = _tokenizer(trained, padding, tmp_path)
    rows, names = _examples(tokenizer, padding)
    collator = PMIMaskingCollator(tokenizer, vocabulary, mlm_probability=0.3, return_tensors="np", seed=3)
    masked = np.sum([_check(collator(rows), names, tokenizer.pad_token_id) for _ in range(20)], axis=0)
    assert 0.2 < masked[0] / masked[1] < 0.42, masked
    # Pickled, it goes on from where it was.
    again = pickle.loads(pickle.dumps(collator))
    np.testing.assert_array_equal(again(rows)["labels"], collator(rows)["labels"])


def _epochs(rows, collator, workers, context, persistent=False):
    torch = pytest.importorskip("torch")
    torch.manual_seed(5)
    more = {"multiprocessing_context": context, "timeout": LIMIT, "persistent_workers": persistent} if workers else {}
    loader = torch.utils.data.DataLoader(rows, batch_size=16, num_workers=workers, collate_fn=collator, **more)
    return [list(loader) for _ in range(2)]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_loader_of_pytorch(trained, padding, workers, vocabulary, tmp_path):
    torch = pytest.importorskip("torch")
    tokenizer = _tokenizer(trained, padding, tmp_path)
    rows, names = _examples(tokenizer, padding)
    collator = lambda: PMIMaskingCollator(tokenizer, vocabulary, mlm_probability=0.3, seed=3)  # noqa: E731
    first, second = _epochs(rows, collator(), workers, "fork")
    masked = np.sum([_check(batch, names, tokenizer.pad_token_id) for batch in first + second], axis=0)
    assert 0 < masked[0] < masked[1]
    assert any(not torch.equal(a["labels"], b["labels"]) for a, b in zip(first, second, strict=True)), "epochs are alike"
    again, _ = _epochs(rows, collator(), workers, "fork")
    assert all(torch.equal(a["labels"], b["labels"]) for a, b in zip(first, again, strict=True)), "a seed decides"


@pytest.mark.parametrize("kind", KINDS)
def test_spawned_workers(kind, vocabulary, tmp_path):
    pytest.importorskip("torch")
    tokenizer = _tokenizer(_train(kind).backend_tokenizer.to_str(), "saved", tmp_path)
    rows, names = _examples(tokenizer, "saved")
    collator = PMIMaskingCollator(tokenizer, vocabulary, mlm_probability=0.3, seed=3)
    first, second = _epochs(rows, collator, 1, "spawn", persistent=True)
    assert sum(_check(batch, names, tokenizer.pad_token_id)[0] for batch in first + second) > 0
    assert any((a["labels"] != b["labels"]).any() for a, b in zip(first, second, strict=True))


POLICY = '''
import multiprocessing as mp, sys
import numpy as np
from lyceum.epidemic import Simulation
from lyceum.federated import Network, Rules, partition, simulate
net = Network("linear", 14, 14)
def policy(phones): return np.abs(net.logits(net.initial, phones["symptoms"].astype("f4")))
def work(q):
    days = Simulation(people=2000, days=3, policy=policy, seed=1, initially_infected=0.05).run()["new_infections"].tolist()
    x, y = np.random.default_rng(0).normal(size=(30, 14)).astype("f4"), np.arange(30) % 14
    told = []
    simulate(Rules("fedavg"), net, x, y, partition(y, 3), rounds=2, progress=lambda a, b: told.append((a, net.logits(net.initial, x).shape)))
    q.put((days, told))
if __name__ == "__main__":
    found = []
    for kind in ("fork", "spawn"):
        c = mp.get_context(kind); q = c.Queue(); p = c.Process(target=work, args=(q,)); p.start(); found.append(q.get(timeout=40)); p.join()
    class Q: put = staticmethod(found.append)
    work(Q)
    assert found[0] == found[1] == found[2], found
'''


@pytest.mark.parametrize("threads", [1, 2])
def test_functions_that_use_the_package_in_other_processes(tmp_path, threads):
    """A policy and a report of progress that call the package again: in this process, forked and spawned, the same, and to an end."""
    script = tmp_path / "policy.py"
    script.write_text(POLICY)
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
    subprocess.run([sys.executable, script], env=environment, check=True, timeout=120)
