"""Run the contenders interleaved, and compute by what ratio each is faster or slower."""


import importlib.metadata, json, os, platform, shutil, subprocess, sys, time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from contenders import Process
from disaster_nbdev.data import Dataset
from disaster_nbdev.core import UserError
from disaster_nbdev.split import split
from disaster_nbdev.core import atomic_write
from disaster_nbdev.provenance import versions
from disaster_nbdev.record import to_json

if TYPE_CHECKING: from matplotlib.figure import Figure


# measurements of one repetition: seconds and, where known, peak_mb and others
Taken = dict[str, float]

def in_turns(
    work: dict[str, Callable[[], Taken]], # name of a contender -> one repetition
    repetitions: int, # rounds
) -> pd.DataFrame: # contender, turn (from 1), seconds, and other measurements
    "Run every contender once per round; return one row per repetition."
    rows, started = [], time.perf_counter()
    for turn in range(1, repetitions + 1):
        for name, repeat in work.items():
            rows.append({"contender": name, "turn": turn, **repeat()})
            print(f"{time.perf_counter() - started:7.1f} s  turn {turn} of {repetitions}: {name}, "
                  f"{rows[-1]['seconds']:.3f} s", flush=True)
    return pd.DataFrame(rows, columns=None if rows else ["contender", "turn", "seconds"])


def spread(
    taken: pd.DataFrame, # returned by `in_turns`
    value: str = "seconds", # column
) -> pd.DataFrame: # contender, median, least, most; in the order of the contenders
    "Return the median and the range of the repetitions."
    by_contender = taken.groupby("contender", sort=False)[value]
    return by_contender.agg(median="median", least="min", most="max").reset_index()


def ratio(
    taken: pd.DataFrame, # returned by `in_turns`
    above: str, # contender in the numerator
    below: str, # contender in the denominator
    value: str = "seconds", # column
) -> Taken: # median, least, most; empty if one of the two was not measured
    "Return the ratio of two contenders, computed within each round."
    by_turn = taken.pivot(index="turn", columns="contender", values=value)
    if not {above, below} <= set(by_turn): return {}
    each = by_turn[above] / by_turn[below]
    return {"median": each.median(), "least": each.min(), "most": each.max()}


def notation(value: float | None) -> str:
    "Format a number with three significant digits, or as a whole number from 100 on."
    if value is None or value != value: return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write_work(
    dataset: Dataset,
    folder: Path, # output folder
    tweets: int = 0, # number of training tweets; 0: all
# tweets, tokens (words kept), longest (words), rows (of the embedding matrix)
) -> dict[str, int]:
    "Write work.npz, vocabulary.json and train.csv."
    from disaster_nbdev.clean import clean
    from disaster_nbdev.vocabulary import build_vocabulary, encode, to_json as words_to_json
    part = split(dataset.train, "study")[0].head(tweets or None)
    cleaned = clean(part["text"], "study")
    vocabulary = build_vocabulary(cleaned, 5677) # the study's vocabulary size
    ids = encode(vocabulary, cleaned)
    np.savez(folder/"work.npz", ids=ids, labels=part["target"].to_numpy())
    (folder/"vocabulary.json").write_text(words_to_json(vocabulary), encoding="utf-8")
    part[["text", "target"]].to_csv(folder/"train.csv", index=False)
    return {"tweets": len(ids), "tokens": int((ids != 0).sum()), "longest": ids.shape[1],
            "rows": vocabulary.rows}


def known_words(folder: Path) -> tuple[str, ...]: # folder: filled by `write_work`
    "Return the words of the training tweets, most frequent first."
    from disaster_nbdev.vocabulary import from_json
    return from_json((folder/"vocabulary.json").read_text(encoding="utf-8")).words


GATES = {"lstm": 4, "gru": 3} # cell -> number of gates

def operations(
    cell: str, # lstm | gru
    tokens: int, # words in all tweets, without padding
    embed_dim: int,
    hidden_size: int, # units per direction
) -> int: # floating-point operations of one epoch
    "Count the operations of an epoch's matrix products, forward and backward."
    return 2 * tokens * 2 * GATES[cell] * hidden_size * (2*embed_dim + 3*hidden_size)


PRODUCTS = ("numpy", "tensorflow") # libraries whose matrix products are timed

def product_rate(
    taken: pd.DataFrame, # returned by `in_turns`, with the matrix products
    size: int, # rows and columns of the matrices
    times: int, # products per repetition
) -> float: # floating-point operations per second
    "Return the highest speed measured for a large matrix product."
    names = [f"products, {library}" for library in PRODUCTS]
    seconds = taken.loc[taken["contender"].isin(names), "seconds"]
    return times * 2 * size**3 / seconds.min()


PROCESSES = { # name -> library that must be installed, environment
    "ours": ("tensorflow", {}),
    "tensorflow": ("tensorflow", {"KERAS_BACKEND": "tensorflow"}),
    "jax": ("jax", {"KERAS_BACKEND": "jax"}),
    "torch": ("torch", {}),
    "torch, one thread": ("torch", {"OMP_NUM_THREADS": "1"}),
}
STUDY = {"seq_len": 100} # the study padded tweets to this many words
TRAININGS = { # contender -> process, function of contenders.py that prepares it, its options
    "ours": ("ours", "our_epochs", {}),
    "ours, without buckets": ("ours", "our_epochs", {"buckets": False}),
    "ours, loop not fused": ("ours", "our_epochs", {"fused": False}),
    "ours, neither": ("ours", "our_epochs", {"buckets": False, "fused": False}),
    "ours, recurrent dropout": ("ours", "our_epochs",
                                {"input_dropout": 0.2, "recurrent_dropout": 0.2}),
    "study's recipe": ("tensorflow", "keras_epochs", STUDY),
    "Keras on TensorFlow": ("tensorflow", "keras_epochs", {}),
    "Keras on JAX": ("jax", "keras_epochs", {}),
    "PyTorch, packed": ("torch", "torch_epochs", {"packed": True}),
    "PyTorch, packed, one thread": ("torch, one thread", "torch_epochs", {"packed": True}),
    "PyTorch, padded": ("torch", "torch_epochs", {"packed": False}),
    "PyTorch, padded, one thread": ("torch, one thread", "torch_epochs", {"packed": False}),
}


PACKED = ("PyTorch, packed", "PyTorch, packed, one thread") # the faster of these counts

def available(
    chosen: list[str] | None = None, # contenders of `TRAININGS`; empty: all
) -> list[str]:
    "Return the contenders whose library is installed; raise `UserError` for an unknown name."
    from disaster_nbdev.core import one_of
    for name in chosen or []: one_of("contender", name, TRAININGS)
    wanted = chosen or TRAININGS
    return [name for name, (process, _, _) in TRAININGS.items()
            if name in wanted and find_spec(PROCESSES[process][0])]


@contextmanager
def processes(
    names: set[str], # keys of `PROCESSES`
) -> Iterator[dict[str, Process]]: # name -> running process
    "Start the named processes, and end them when the `with` block ends."
    with ExitStack() as stack:
        yield {name: stack.enter_context(Process(**PROCESSES[name][1])) for name in sorted(names)}


def repeated(
    process: Process,
    name: str, # of the contender
    maker: str, # function of contenders.py that prepares it
    **options, # arguments of the maker
) -> Callable[[], Taken]: # runs one repetition
    "Prepare a contender in another process."
    process.call("make", name=name, maker=maker, **options)
    def repeat() -> Taken:
        answer = process.call("again", name=name)
        value = answer["value"]
        return value if isinstance(value, dict) else {"seconds": answer["seconds"]}
    return repeat


def compare_training(
    folder: Path, # filled by `write_work`
    rows: int, # of the embedding matrix
    cells: list[str], # lstm, gru
    chosen: list[str], # contenders of `TRAININGS`
    repetitions: int, # rounds
    embed_dim: int, hidden_size: int, batch_size: int,
    size: int, times: int, # of the matrix products
# from `in_turns`: the first epochs, which include compilation, and the others; contenders are
# called `<cell>, <name>`
) -> tuple[pd.DataFrame, pd.DataFrame]:
    "Time epochs of all contenders and large matrix products, interleaved."
    options = {"work": str(folder/"work.npz"), "rows": rows, "embed_dim": embed_dim,
               "hidden_size": hidden_size, "batch_size": batch_size}
    with processes({"tensorflow"} | {TRAININGS[name][0] for name in chosen}) as running:
        ready = {}
        for cell in cells:
            for name in chosen:
                process, maker, own = TRAININGS[name]
                label = f"{cell}, {name}"
                ready[label] = repeated(running[process], label, maker, cell=cell, **options,
                                        **own)
        for library in PRODUCTS:
            ready[f"products, {library}"] = repeated(running["tensorflow"], library, "products",
                                                     library=library, size=size, times=times)
        print("The first epoch of each, which includes compilation:")
        return in_turns(ready, 1), in_turns(ready, repetitions)


def worse(
    taken: pd.DataFrame, # returned by `in_turns`
    # contenders of `TRAININGS`; those in `above` are alternatives to each other
    above: tuple[str, ...], below: str,
    best: Callable = max, # max if a larger ratio is better, else min
) -> Taken: # median, least, most, cell, against; empty if none was measured
    "Return the least favorable ratio over all cells and alternatives."
    each = [{**found, "cell": cell, "against": name} for cell in GATES for name in above
            if (found := ratio(taken, f"{cell}, {name}", f"{cell}, {below}"))]
    worst = min if best is max else max
    return worst(each, key=lambda found: found["median"], default={})


def against_floor(
    taken: pd.DataFrame, # returned by `in_turns`
    tokens: int, embed_dim: int, hidden_size: int, # as for `operations`
    rate: float, # returned by `product_rate`
) -> dict[str, Taken]: # cell -> floor (seconds), and median, least, most of our seconds over it
    "Return the ratio of our epoch time to the time of its matrix products."
    found = {}
    for cell in GATES:
        floor = operations(cell, tokens, embed_dim, hidden_size) / rate
        seconds = taken.loc[taken["contender"] == f"{cell}, ours", "seconds"]
        if len(seconds):
            found[cell] = {"floor": floor, "median": seconds.median() / floor,
                           "least": seconds.min() / floor, "most": seconds.max() / floor}
    return found


def stream(
    texts: list[str], # real tweets
    rows: int, # number of tweets
) -> Iterator[str]:
    "Yield distinct tweets built from halves of real ones; every call yields the same."
    words = [text.split() for text in texts]
    first = [" ".join(w[:len(w)//2]) for w in words]
    second = [" ".join(w[len(w)//2:]) for w in words]
    for number in range(rows):
        round_, start = divmod(number, len(texts))
        end = (start + round_ + 1) % len(texts)
        yield f"{first[start]} {second[end]} http://t.co/{number:010x}".strip()


def write_stream(
    path: Path, # CSV file to write: id, text
    texts: list[str], # real tweets
    rows: int, # number of tweets
) -> int: # bytes
    "Write the stream to a file; return the file's size."
    import csv
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "text"])
        writer.writerows(enumerate(stream(texts, rows)))
    return path.stat().st_size


def tree_mb(
    process, # psutil.Process
) -> float: # 10^6 bytes; 0 if it has ended
    "Return the memory of a process and all its descendants."
    import psutil
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            try: total += one.memory_info().rss
            except psutil.NoSuchProcess: pass
    except psutil.NoSuchProcess: pass
    return total / 1e6


EVERY = 0.05 # seconds between memory samples

def command(
    *words: str, # arguments of `disaster`
) -> Taken: # seconds, peak_mb
    "Run `disaster` from start to end; raise `RuntimeError` if it fails."
    import psutil
    program = Path(sys.executable).with_name("disaster")
    program = program if program.is_file() else shutil.which("disaster")
    started, peak = time.perf_counter(), 0.0
    with subprocess.Popen([str(program), *words], stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, encoding="utf-8", errors="replace") as process:
        seen = psutil.Process(process.pid)
        while True:
            try: errors = process.communicate(timeout=EVERY)[1]
            except subprocess.TimeoutExpired: peak = max(peak, tree_mb(seen))
            else: break
    if process.returncode:
        raise RuntimeError(f"disaster {' '.join(words[:1])} exited with {process.returncode}: "
                           f"{errors[-500:]}")
    return {"seconds": time.perf_counter() - started, "peak_mb": peak}


def compare_starts(repetitions: int) -> pd.DataFrame: # returned by `in_turns`
    "Time the start of `disaster --help`, of the package alone and of Python alone."
    def python(code: str) -> Taken:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return {"seconds": time.perf_counter() - started}
    return in_turns({"disaster --help": lambda: command("--help"),
                     "import disaster_nbdev": lambda: python("import disaster_nbdev"),
                     "python": lambda: python("pass")}, repetitions)


def score_command(
    folder: Path, # contains the saved run
    source: Path, # CSV file
    rows: int, # tweets in it
) -> Taken: # seconds, peak_mb, rows, rate (tweets per second)
    "Score a file with `disaster score`; time the whole command."
    (folder/"ours.csv").unlink(missing_ok=True)
    taken = command("score", str(source), "--run", str(folder/"run"), "--output",
                    str(folder/"ours.csv"))
    return {**taken, "rows": rows, "rate": rows / taken["seconds"]}


BASELINE = "logistic-words" # the faster of the logistic regression baselines

def scorers(
    folder: Path, # filled by `write_work`, with a saved run
    source: Path, # CSV file of tweets
    rows: dict[str, int], # contender (ours, study's path, TF-IDF) -> tweets
    process: Process, # for the other two
) -> dict[str, Callable[[], Taken]]: # contender -> one repetition
    "Prepare all contenders of the scoring comparison."
    makers = {"study's path": ("study_scoring", {"run": str(folder/"run")}),
              "TF-IDF": ("counts_scoring", {"train": str(folder/"train.csv"),
                                            "baseline": BASELINE})}
    ready = {"ours": lambda: score_command(folder, source, rows["ours"])}
    for name, (maker, options) in makers.items():
        repeat = repeated(process, name, maker, source=str(source),
                          target=str(folder/f"{maker}.csv"), rows=rows[name], **options)
        def rated(repeat=repeat, n=rows[name]) -> Taken:
            taken = repeat()
            return {**taken, "rows": n, "rate": n / taken["seconds"]}
        ready[name] = rated
    return ready


def compare_scoring(
    folder: Path, # filled by `write_work`
    source: Path, # CSV file of tweets
    rows: dict[str, int], # contender -> tweets
    repetitions: int, # rounds
    **shape, # cell, hidden_size, embed_dim of the network
# from `in_turns`, and the largest difference between our probabilities and the study's path
) -> tuple[pd.DataFrame, float]:
    "Time all scorers on the stream, interleaved, and compare their probabilities."
    with Process() as process:
        process.call("save_run", folder=str(folder/"run"), vocabulary=str(folder/"vocabulary.json"),
                     **shape)
        taken = in_turns(scorers(folder, source, rows, process), repetitions)
    ours, theirs = (pd.read_csv(folder/name, usecols=["probability"],
                                nrows=rows["study's path"])["probability"]
                    for name in ("ours.csv", "study_scoring.csv"))
    return taken, float((ours - theirs).abs().max())


def compare_tables(
    folder: Path, # contains the saved run
    texts: list[str], # real tweets
    rows: int, # tweets read and written
    repetitions: int, # rounds
) -> pd.DataFrame: # from `in_turns`, with rate (tweets per second)
    "Time scoring one tweet, reading a table and writing one."
    one, source = folder/"one.csv", folder/"some.csv"
    write_stream(one, texts, 1)
    write_stream(source, texts, rows)
    with Process() as process:
        read = repeated(process, "read", "table_reading", source=str(source))
        write = repeated(process, "write", "table_writing", source=str(source),
                         target=str(folder/"written.csv"))
        taken = in_turns({"one tweet": lambda: score_command(folder, one, 1), "read": read,
                          "write": write}, repetitions)
    tweets = np.where(taken["contender"] == "one tweet", 1, rows)
    return taken.assign(rate=tweets / taken["seconds"])


BLOCK = 10_000 # vectors generated at a time

def make_vectors(
    path: Path, # word2vec binary to write; a gzip copy is written with .gz added
    words: tuple[str, ...], # must be in the file
    rows: int, # total number of vectors, at least as many as the words
    embed_dim: int = 300,
) -> Path: # `path`
    "Write a file of random word vectors, plain and as gzip."
    import gzip
    step = max(1, rows // len(words))
    rng = np.random.default_rng(0)
    with open(path, "wb") as plain, gzip.open(f"{path}.gz", "wb", compresslevel=1) as packed:
        for file in (plain, packed): file.write(f"{rows} {embed_dim}\n".encode())
        for start in range(0, rows, BLOCK):
            numbers = rng.normal(size=(min(BLOCK, rows - start), embed_dim)).astype("float32")
            # truncated to seven fraction bits
            numbers = (numbers.view("uint32") & np.uint32(0xFFFF0000)).view("float32")
            names = [words[row // step] if row % step == 0 and row // step < len(words)
                     else f"unasked_{row}" for row in range(start, start + len(numbers))]
            content = b"".join(name.encode() + b" " + vector.tobytes() + b"\n"
                               for name, vector in zip(names, numbers))
            for file in (plain, packed): file.write(content)
    return path


def apart(
    maker: str, # function of contenders.py
    environment: dict[str, str] | None = None, # variables added to the process's environment
    **options, # arguments of the maker
) -> Taken: # seconds, peak_mb, value
    "Run one repetition in a fresh process, to measure its peak memory."
    with Process(**environment or {}) as process:
        process.call("make", name=maker, maker=maker, **options)
        answer = process.call("again", name=maker)
    return {"seconds": answer["seconds"], "peak_mb": answer["peak_mb"], "value": answer["value"]}


def forget(path: Path) -> None:
    "Ask the system to drop its cached pages of a file, where the system supports it."
    if not hasattr(os, "posix_fadvise"): return
    with open(path, "rb") as file: os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

def from_disk(path: Path, maker: str, **options) -> Taken: # seconds, peak_mb, value
    "Run one repetition as `apart` does, on a file that is no longer cached."
    forget(path)
    return apart(maker, path=str(path), **options)


def compare_vectors(
    folder: Path, # filled by `write_work`; the vectors found are cached there
    path: Path, # word2vec binary; its gzip copy is next to it, with .gz added
    repetitions: int, # rounds
) -> pd.DataFrame: # from `in_turns`, with peak_mb
    "Time every way to load the vocabulary's vectors, each time in a fresh process."
    plain, packed = str(path), f"{path}.gz"
    words = {"vocabulary": str(folder/"vocabulary.json")}
    cache = {"XDG_CACHE_HOME": str(folder/"cache")}
    def second_time() -> Taken:
        return apart("our_vectors", cache, path=plain, cached=True, **words)
    apart("whole_reading", path=plain) # so that every contender finds the file in the page cache
    second_time() # fills the project's own cache
    return in_turns({
        "ours": lambda: apart("our_vectors", path=plain, **words),
        "reading the file": lambda: apart("whole_reading", path=plain),
        "ours, from the disk": lambda: from_disk(path, "our_vectors", **words),
        "reading the file from the disk": lambda: from_disk(path, "whole_reading"),
        "ours, a second time": second_time,
        "gensim": lambda: apart("gensim_vectors", path=plain),
        "ours, packed": lambda: apart("our_vectors", path=packed, **words),
        "unpacking the file": lambda: apart("whole_reading", path=packed, packed=True),
    }, repetitions)


def compare_cleaning(
    folder: Path, # filled by `write_work`
    source: Path, # CSV file of the stream
    rows: int, # tweets of the stream
    few: int, # tweets that the plain definition cleans
    repetitions: int, # rounds
) -> pd.DataFrame: # from `in_turns`, with rate (tweets per second)
    "Time cleaning on one core: the stream, the real tweets, and one tweet at a time."
    def rated(process: Process, name: str, **options) -> Callable[[], Taken]:
        process.call("make", name=name, maker="cleaning", **options)
        def repeat() -> Taken:
            answer = process.call("again", name=name)
            return {"seconds": answer["seconds"], "rate": answer["value"] / answer["seconds"]}
        return repeat
    kinds = {"stream": {"source": str(source), "rows": rows},
             "real tweets": {"source": str(folder/"train.csv"), "rows": 0},
             "one by one": {"source": str(source), "rows": few, "plain": True}}
    with Process() as process:
        work = {}
        for way in ("study", "aware"):
            for kind, options in kinds.items():
                name = f"{way}, {kind}"
                work[name] = rated(process, name, way=way, **options)
        return in_turns(work, repetitions)


LIBRARIES = ("torch", "jax", "scipy", "psutil") # next to those of `provenance.versions`
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "MKL_NUM_THREADS",
           "OPENBLAS_NUM_THREADS", "XLA_FLAGS")

def _processor() -> str:
    "Return the name of the processor."
    try: lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError: return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
                platform.machine())


def machine() -> dict: # processor, cores, memory_gb, system, load, versions, threads, date
    "Describe what determines the speed of this machine."
    import psutil
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    more = {name: importlib.metadata.version(name) for name in LIBRARIES if find_spec(name)}
    return {
        "processor": _processor(),
        "cores": cores,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        # mean number of processes that wanted a core over the last minute
        "load": round(os.getloadavg()[0], 2),
        "versions": {**versions(), **more},
        "threads": {name: os.environ[name] for name in THREADS if name in os.environ},
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


TARGETS = { # figure -> (description, whether larger is better, target)
    "train_vs_study_recipe": (
        "Epoch time of the study's recipe, as a multiple of ours", True, 8),
    "train_vs_pytorch_packed": (
        "Epoch time of PyTorch with packed sequences, at its better number of threads, "
        "as a multiple of ours", True, 2),
    "train_vs_floor": (
        "Our epoch time, as a multiple of its matrix products alone", False, 4),
    "recurrent_dropout_vs_plain": (
        "Our epoch time with recurrent dropout, as a multiple of that without", False, 2),
    "score_rows_per_second": (
        "Tweets scored per second, start included", True, 50_000),
    "score_vs_study_path": (
        "Tweets scored per second, as a multiple of the study's path", True, 20),
    "score_vs_tfidf": (
        "Tweets scored per second, as a multiple of TF-IDF with logistic regression", True, 1),
    "vectors_peak_mb": (
        "Peak memory while vectors are loaded, in MB", False, 400),
    "vectors_vs_read": (
        "Time to load the vectors, as a multiple of reading the file", False, 1.5),
    "vectors_vs_gunzip": (
        "Time to load the vectors of a gzip file, as a multiple of decompressing it", False, 1.5),
    "clean_rows_per_second_core": (
        "Tweets cleaned per second and core, by the slower cleaning", True, 150_000),
    "import_seconds": (
        "Seconds until `disaster --help` has answered", False, 0.3),
}


def one_figure(
    taken: pd.DataFrame, # returned by `in_turns`
    contender: str,
    value: str, # column
) -> Taken: # median, least, most
    "Return the median and the range of one contender."
    row = spread(taken[taken["contender"] == contender], value).iloc[0]
    return row.drop("contender").to_dict()


def figures(
    # returned by `compare_training` and `against_floor`
    trained: pd.DataFrame, floors: dict[str, Taken],
    # returned by the other comparisons
    scored: pd.DataFrame, read: pd.DataFrame, cleaned: pd.DataFrame, starts: pd.DataFrame,
) -> dict[str, Taken]: # figure of `TARGETS` -> median, least, most; empty if not measured
    "Return all figures with their medians and ranges."
    return {"train_vs_study_recipe": worse(trained, ("study's recipe",), "ours"),
            "train_vs_pytorch_packed": worse(trained, PACKED, "ours"),
            "train_vs_floor": max(({**found, "cell": cell} for cell, found in floors.items()),
                                  key=lambda found: found["median"], default={}),
            "recurrent_dropout_vs_plain": worse(trained, ("ours, recurrent dropout",), "ours", min),
            "score_rows_per_second": one_figure(scored, "ours", "rate"),
            "score_vs_study_path": ratio(scored, "ours", "study's path", "rate"),
            "score_vs_tfidf": ratio(scored, "ours", "TF-IDF", "rate"),
            "vectors_peak_mb": one_figure(read, "ours", "peak_mb"),
            "vectors_vs_read": ratio(read, "ours", "reading the file"),
            "vectors_vs_gunzip": ratio(read, "ours, packed", "unpacking the file"),
            "clean_rows_per_second_core": min(
                (one_figure(cleaned, f"{way}, stream", "rate") for way in ("study", "aware")),
                key=lambda found: found["median"]),
            "import_seconds": one_figure(starts, "disaster --help", "seconds")}


def target_table(
    found: dict[str, Taken], # returned by `figures`
) -> pd.DataFrame: # figure, what it is, target, measured, least, most, met
    "Return a table of targets, measurements, and whether each target is met."
    rows = []
    for name, (words, larger, target) in TARGETS.items():
        measured = found[name].get("median")
        if measured is None: met = "not measured"
        elif measured >= target if larger else measured <= target: met = "met"
        else: met = "not met"
        aimed = f"{'at least' if larger else 'at most'} {notation(target)}"
        cell = f" ({found[name]['cell'].upper()})" if "cell" in found[name] else ""
        rows.append({"figure": name, "what it is": words + cell, "target": aimed,
                     "measured": measured, "least": found[name].get("least"),
                     "most": found[name].get("most"), "met": met})
    return pd.DataFrame(rows)


def verdict(
    judged: pd.DataFrame, # returned by `target_table`
    absent: list[str], # contenders that were not measured
) -> str: # Markdown
    "Summarize which targets are met, and which contenders were not measured."
    titles = {"met": "Met", "not met": "Not met", "not measured": "Not measured"}
    lines = []
    for met, title in titles.items():
        part = judged[judged["met"] == met].rename(columns={"what it is": "what"})
        items = [row.what if met == "not measured"
                 else f"{row.what} ({notation(row.measured)}, target {row.target})"
                 for row in part.itertuples()]
        if items: lines.append(f"- **{title}**: " + "; ".join(items) + ".")
    if absent:
        lines.append(f"- Not included: {', '.join(absent)}. The extra `bench` installs PyTorch "
                     f"and JAX.")
    return "\n".join(lines)


def capacity_facts(
    # returned by `compare_scoring` and `compare_tables`
    scored: pd.DataFrame, tables: pd.DataFrame,
    rows: int, # tweets in the scored file
    read: int, written: int, # bytes of that file and of the output
    cores: int,
) -> dict[str, float]: # tweets per second, bytes per tweet, MB and seconds
    "Return the rates, sizes and memory from which capacity.py computes."
    ours = scored[scored["contender"] == "ours"]
    total = ours["seconds"].median()
    rates = spread(tables, "rate").set_index("contender")["median"]
    start = spread(tables).set_index("contender")["median"]["one tweet"]
    # subtract the start, if the file is long enough for that to be meaningful
    seconds = total - start if total > 2*start else total
    return {
        "score_rate": float(rows / seconds),
        "start_seconds": float(start),
        "cores": cores,
        "memory_mb": float(ours["peak_mb"].max()),
        "read_rate": float(rates["read"]),
        "write_rate": float(rates["write"]),
        "bytes_in": read / rows,
        "bytes_out": written / rows,
    }


def write_benchmark(
    report: Path, # returned by `report_folder`
    found: dict[str, Taken], # returned by `figures`
    **details, # all measurements: tables and facts
) -> Path: # benchmark.json
    "Write the figures and the measurements behind them, atomically."
    plain = {name: value.to_dict("records") if isinstance(value, pd.DataFrame) else value
             for name, value in details.items()}
    report.mkdir(parents=True, exist_ok=True)
    medians = {name: found[name].get("median") for name in TARGETS}
    targets = target_table(found).to_dict("records")
    facts = {"schema": 1, **medians, "details": {"spreads": found, "targets": targets, **plain}}
    atomic_write(report/"benchmark.json", to_json(facts))
    return report/"benchmark.json"


def read_benchmark(report: Path) -> dict: # contents of benchmark.json
    "Read benchmark.json; raise `UserError` if it is missing or damaged."
    try: facts = json.loads((report/"benchmark.json").read_text(encoding="utf-8"))
    except OSError:
        raise UserError(
            f"There is no benchmark.json in {report}: run `make benchmark` first.") from None
    except ValueError: facts = None
    if (not isinstance(facts, dict) or facts.get("schema") != 1
            or not {*TARGETS, "details"} <= facts.keys()):
        raise UserError(f"{report/'benchmark.json'} is damaged or from another version; "
                        f"run `make benchmark` again.")
    return facts


def plot_bars(
    measured: pd.DataFrame, # contender, median, least, most
    title: str,
    axis: str, # axis label, with the unit
    marks: dict[str, float] | None = None, # label of a vertical line -> its value
    ours: str = "ours", # contenders whose name contains this are drawn in the project's color
) -> "Figure":
    "Plot the median of each contender on a logarithmic axis, with its range."
    from disaster_nbdev.figures import PALETTE, style_axes, figure
    drawn = figure(title, 8, 1.4 + 0.34 * len(measured))
    axes = style_axes(drawn.add_subplot(), axis, "")
    rows = range(len(measured))
    colors = [PALETTE["not a disaster"] if ours in name else PALETTE["orange"]
              for name in measured["contender"]]
    axes.barh(rows, measured["median"], color=colors, height=0.6)
    axes.hlines(rows, measured["least"], measured["most"], color="black", linewidth=1.5)
    axes.set_xscale("log")
    axes.set_yticks(rows, measured["contender"])
    axes.invert_yaxis()
    for row, value in zip(rows, measured["median"]):
        axes.text(1.01, row, notation(value), transform=axes.get_yaxis_transform(), va="center")
    for name, value in (marks or {}).items():
        axes.axvline(value, color=PALETTE["grey"], linestyle=":", label=f"{name}: {value:.3g}")
    if marks: drawn.legend(loc="outside lower center", ncols=2, frameon=False)
    return drawn


def bar_words(measured: pd.DataFrame, unit: str) -> str: # measured: contender, median
    "Describe such a plot in words."
    bars = [f"{row.contender} {notation(row.median)}" for row in measured.itertuples()]
    return f"Bars of the medians. {'; '.join(bars)} {unit}."


def duration(part: dict) -> float: # part: a notebook or a cell
    "Return the seconds that papermill recorded, or 0."
    return part["metadata"].get("papermill", {}).get("duration") or 0.0


def page_times(
    # returned by `report_folder`; its executed notebooks are read, if they still exist
    report: Path,
) -> pd.DataFrame: # page, seconds, training, preparing and judging, starting; longest first
    "Return the seconds that each page of a report took, by part."
    rows = []
    for path in sorted((report/"notebooks").glob("[!.]*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        training = sum(duration(cell) for cell in cells
                       if "log" in cell["metadata"].get("tags", []))
        inside = sum(map(duration, cells))
        total = duration(notebook)
        rows.append({"page": path.stem, "seconds": total, "training": training,
                     "preparing and judging": inside - training, "starting": total - inside})
    columns = ["page", "seconds", "training", "preparing and judging", "starting"]
    table = pd.DataFrame(rows, columns=columns)
    others = table[~table["page"].isin(["benchmark", "capacity"])]
    return others.sort_values("seconds", ascending=False, ignore_index=True)


def quick_and_plain(
    report: Path, # returned by `report_folder`
    quick: str = "gru-glove", plain: str = "gru-shuffled-glove", # runs on several splits
# split, difference (quick minus plain), from, to, p-value; empty if one of the two is missing
) -> pd.DataFrame:
    "Compare the accuracy of two runs, paired by tweet."
    from disaster_nbdev.compare_repeats import paired
    from disaster_nbdev.repeats import all_predictions, read_repeats
    both = sorted((one for one in read_repeats(report, []) if one.name in (quick, plain)),
                  key=lambda one: one.name != quick)
    columns = {"split": "split", "difference": "difference", "low": "from", "high": "to",
               "p_value": "p-value"}
    if len(both) < 2: return pd.DataFrame(columns=list(columns.values()))
    return paired(all_predictions(both))[list(columns)].rename(columns=columns)
