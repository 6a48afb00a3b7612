#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures one peer on one data set; prints one line of JSON with accuracy, seconds and peak memory. bench.py runs it in a new process."""
import json
import os
import re
import resource
import subprocess
import sys
import time


def load(directory, part):
    with open(os.path.join(directory, part + ".jsonl"), encoding="utf-8") as f:
        rows = [json.loads(line) for line in f if line.strip()]
    return [r["input"] for r in rows], [r["output"] for r in rows]


def features():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import FeatureUnion
    return FeatureUnion([("word", TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)),
                         ("char", TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True))])


def sklearn(directory, work):
    start = time.perf_counter()
    from sklearn.svm import LinearSVC
    (x, y), (tx, ty) = load(directory, "train"), load(directory, "test")
    union = features()
    model = LinearSVC()
    model.fit(union.fit_transform(x), y)
    hits = sum(a == b for a, b in zip(model.predict(union.transform(tx)), ty))
    return {"title": "scikit-learn", "accuracy": hits / len(ty), "seconds": time.perf_counter() - start,
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def liblinear(kind, directory, work):
    """-s 1 and -s 4 on words and characters; -s 6 (L1 logistic regression) on words, which is its best on long noisy texts."""
    from sklearn.datasets import dump_svmlight_file
    from sklearn.feature_extraction.text import TfidfVectorizer
    (x, y), (tx, ty) = load(directory, "train"), load(directory, "test")
    c = {"1": "1", "4": "0.5", "6": "4"}[kind]
    union = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True) if kind == "6" else features()
    labels = {label: i for i, label in enumerate(sorted(set(y)))}
    paths = [os.path.join(work, n) for n in ("train.svm", "test.svm", "model", "out")]
    dump_svmlight_file(union.fit_transform(x), [labels[v] for v in y], paths[0], zero_based=False)
    dump_svmlight_file(union.transform(tx), [labels.get(v, -1) for v in ty], paths[1], zero_based=False)
    start = time.perf_counter()
    subprocess.run(["liblinear-train", "-q", "-s", kind, "-c", c, "-B", "1", paths[0], paths[2]], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    text = subprocess.run(["liblinear-predict", paths[1], paths[2], paths[3]], check=True, capture_output=True, text=True).stdout
    accuracy = float(re.search(r"Accuracy = ([0-9.]+)%", text).group(1)) / 100
    return {"title": "liblinear -s %s -c %s -B 1 (training only, features given)" % (kind, c), "accuracy": accuracy, "seconds": seconds, "peak": peak}


def fasttext(extra, title, directory, work):
    def write(part, path):
        x, y = load(directory, part)
        with open(path, "w", encoding="utf-8") as out:
            for text, label in zip(x, y):
                out.write("__label__%s %s\n" % (label.replace(" ", "_"), " ".join(text.split())))
    train, test, model = (os.path.join(work, n) for n in ("ft.train", "ft.test", "ft"))
    write("train", train)
    write("test", test)
    start = time.perf_counter()
    subprocess.run(["fasttext", "supervised", "-input", train, "-output", model, "-thread", "2", "-verbose", "0", *extra], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    text = subprocess.run(["fasttext", "test", model + ".bin", test], check=True, capture_output=True, text=True).stdout
    return {"title": title, "accuracy": float(re.search(r"P@1\s+([0-9.]+)", text).group(1)), "seconds": seconds, "peak": peak}


def main():
    which, directory, work = sys.argv[1:4]
    if which == "sklearn":
        record = sklearn(directory, work)
    elif which.startswith("liblinear-s"):
        record = liblinear(which[-1], directory, work)
    elif which == "fasttext":
        record = fasttext([], "fastText, as it comes", directory, work)
    else:
        record = fasttext("-wordNgrams 2 -minn 3 -maxn 6 -lr 0.3 -epoch 50 -dim 100 -bucket 200000".split(), "fastText, its best setting for short text", directory, work)
    print(json.dumps(record))


if __name__ == "__main__":
    main()
