"""Take the contenders in turns, and say by what ratio each is faster or slower."""


import importlib.metadata, json, os, platform, shutil, subprocess, sys, time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from contenders import Process, vectors
from disaster_nbdev.data import Dataset, UserError, split
from disaster_nbdev.files import write_whole
from disaster_nbdev.provenance import versions
from disaster_nbdev.runs import to_json

if TYPE_CHECKING: from matplotlib.figure import Figure


Taken = dict[str, float] # what one repetition gives: seconds and, where known, peak_mb and others

def in_turns(
    work: dict[str, Callable[[], Taken]], # name of a contender -> one repetition
    repetitions: int, # turns
) -> pd.DataFrame: # contender, turn (from 1), seconds, and whatever else was taken
    "Every contender once, then every one again; a line for each."
    rows, started = [], time.perf_counter()
    for turn in range(1, repetitions + 1):
        for name, repeat in work.items():
            rows.append({"contender": name, "turn": turn, **repeat()})
            print(f"{time.perf_counter() - started:7.1f} s  turn {turn} of {repetitions}: {name}, "
                  f"{rows[-1]['seconds']:.3f} s", flush=True)
    return pd.DataFrame(rows, columns=None if rows else ["contender", "turn", "seconds"])


def spread(
    taken: pd.DataFrame, # what `in_turns` gave
    value: str = "seconds", # column
) -> pd.DataFrame: # contender, median, least, most; in the order of the contenders
    "The middle of the repetitions, and how far they lie apart."
    return taken.groupby("contender", sort=False)[value].agg(median="median", least="min",
                                                              most="max").reset_index()


def ratio(
    taken: pd.DataFrame, # what `in_turns` gave
    above: str, # contender
    below: str, # contender
    value: str = "seconds", # column
) -> Taken: # median, least, most; empty when one of the two was not there
    "How many times as much the one took as the other, turn by turn."
    by_turn = taken.pivot(index="turn", columns="contender", values=value)
    if not {above, below} <= set(by_turn): return {}
    each = by_turn[above] / by_turn[below]
    return {"median": each.median(), "least": each.min(), "most": each.max()}


def notation(value: float | None) -> str:
    "A figure with as many digits as it deserves."
    return ("–" if value is None or value != value else f"{value:,.0f}" if value >= 100
            else f"{value:.3g}")


def write_work(
    dataset: Dataset,
    folder: Path, # filled
    tweets: int = 0, # of the training part; 0: all
) -> dict[str, int]: # tweets, tokens (words kept), longest (words), rows (of the matrix of vectors)
    "Write work.npz, vocabulary.json and train.csv."
    from disaster_nbdev.clean import clean
    from disaster_nbdev.vocabulary import build_vocabulary, encode, to_json as words_to_json
    part = split(dataset.train, "study")[0].head(tweets or None)
    cleaned = clean(part["text"], "study")
    vocabulary = build_vocabulary(cleaned, 5677) # the study's cut
    ids = encode(vocabulary, cleaned)
    np.savez(folder/"work.npz", ids=ids, labels=part["target"].to_numpy())
    (folder/"vocabulary.json").write_text(words_to_json(vocabulary), encoding="utf-8")
    part[["text", "target"]].to_csv(folder/"train.csv", index=False)
    return {"tweets": len(ids), "tokens": int((ids != 0).sum()), "longest": ids.shape[1],
            "rows": vocabulary.rows}


def known_words(folder: Path) -> tuple[str, ...]: # folder: what `write_work` filled
    "The words of the training tweets, the most frequent first."
    from disaster_nbdev.vocabulary import from_json
    return from_json((folder/"vocabulary.json").read_text(encoding="utf-8")).words


GATES = {"lstm": 4, "gru": 3} # cell -> matrices of h rows

def operations(
    cell: str, # lstm | gru
    tokens: int, # words of all tweets, without padding
    embed_dim: int,
    hidden_size: int, # units per direction
) -> int: # floating point operations of one epoch
    "What the matrix products of an epoch cost in both directions."
    return 2 * tokens * 2 * GATES[cell] * hidden_size * (2*embed_dim + 3*hidden_size)


PRODUCTS = ("numpy", "tensorflow") # libraries whose products are tried

def product_rate(
    taken: pd.DataFrame, # what `in_turns` gave, the products among it
    size: int, # rows and columns of the matrices
    times: int, # products in a repetition
) -> float: # floating point operations per second
    "The best speed at which a large product was computed."
    seconds = taken.loc[taken["contender"].isin([f"products, {library}" for library in PRODUCTS]),
                        "seconds"]
    return times * 2 * size**3 / seconds.min()


PROCESSES = { # name -> library that must be installed, environment
    "ours": ("tensorflow", {}), "tensorflow": ("tensorflow", {"KERAS_BACKEND": "tensorflow"}), "jax": ("jax", {"KERAS_BACKEND": "jax"}),
    "torch": ("torch", {}), "torch, one thread": ("torch", {"OMP_NUM_THREADS": "1"})}
STUDY = {"seq_len": 100} # words to which the study padded
TRAININGS = { # contender -> process, maker of `contenders`, its options
    "ours": ("ours", "our_epochs", {}),
    "ours, without buckets": ("ours", "our_epochs", {"buckets": False}),
    "ours, loop not fused": ("ours", "our_epochs", {"fused": False}),
    "ours, neither": ("ours", "our_epochs", {"buckets": False, "fused": False}),
    "ours, recurrent dropout": ("ours", "our_epochs", {"input_dropout": 0.2, "recurrent_dropout": 0.2}),
    "study's recipe": ("tensorflow", "keras_epochs", STUDY),
    "Keras on TensorFlow": ("tensorflow", "keras_epochs", {}),
    "Keras on JAX": ("jax", "keras_epochs", {}),
    "PyTorch, packed": ("torch", "torch_epochs", {"packed": True}),
    "PyTorch, packed, one thread": ("torch, one thread", "torch_epochs", {"packed": True}),
    "PyTorch, padded": ("torch", "torch_epochs", {"packed": False}),
    "PyTorch, padded, one thread": ("torch, one thread", "torch_epochs", {"packed": False}),
}


PACKED = ("PyTorch, packed", "PyTorch, packed, one thread") # of these the quicker counts

def available(chosen: list[str] | None = None) -> list[str]: # chosen: contenders of `TRAININGS`; empty: all
    "The contenders whose library is installed; raises `UserError` for an unknown one."
    from disaster_nbdev.data import one_of
    for name in chosen or []: one_of("contender", name, TRAININGS)
    return [name for name, (process, _, _) in TRAININGS.items() if (not chosen or name in chosen)
            and find_spec(PROCESSES[process][0])]


@contextmanager
def processes(names: set[str]) -> Iterator[dict[str, Process]]: # names: keys of `PROCESSES`; they themselves, running
    "The processes that are wanted, ended at the end."
    with ExitStack() as stack:
        yield {name: stack.enter_context(Process(**PROCESSES[name][1])) for name in sorted(names)}


def repeated(process: Process, name: str, maker: str, **options) -> Callable[[], Taken]: # a repetition
    "A contender of another process, made and ready."
    process.call("make", name=name, maker=maker, **options)
    def repeat() -> Taken:
        answer = process.call("again", name=name)
        return (answer["value"] if isinstance(answer["value"], dict)
                else {"seconds": answer["seconds"]})
    return repeat


def compare_training(
    folder: Path, # what `write_work` filled
    rows: int, # of the matrix of vectors
    cells: list[str], # lstm, gru
    chosen: list[str], # contenders of `TRAININGS`
    repetitions: int, # turns
    embed_dim: int, hidden_size: int, batch_size: int,
    size: int, times: int, # of the products
) -> tuple[pd.DataFrame, pd.DataFrame]: # what `in_turns` gave: the first epochs, with compilation, and the others
    "Epochs of all contenders in turns, and products of matrices among them; contenders are called `<cell>, <name>`."
    options = {"work": str(folder/"work.npz"), "rows": rows, "embed_dim": embed_dim,
               "hidden_size": hidden_size, "batch_size": batch_size}
    with processes({"tensorflow"} | {TRAININGS[name][0] for name in chosen}) as running:
        ready = {f"{cell}, {name}": repeated(running[TRAININGS[name][0]], f"{cell}, {name}",
                                             TRAININGS[name][1], cell=cell, **options,
                                             **TRAININGS[name][2]) for cell in cells
                 for name in chosen}
        ready |= {f"products, {library}": repeated(running["tensorflow"], library, "products",
                                                   library=library, size=size, times=times)
                  for library in PRODUCTS}
        print("The first epoch of each, which compiles:")
        return in_turns(ready, 1), in_turns(ready, repetitions)


def worse(
    taken: pd.DataFrame, # what `in_turns` gave
    # contenders of `TRAININGS`; the several above are ways to do the same
    above: tuple[str, ...], below: str,
    best: Callable = max, # of the ratios, the one to be wished for: max, or min
) -> Taken: # median, least, most, cell, and against whom; empty when nothing of it was measured
    "The least favourable ratio, over the cells and over the ways."
    each = [{**found, "cell": cell, "against": name} for cell in GATES for name in above
            if (found := ratio(taken, f"{cell}, {name}", f"{cell}, {below}"))]
    return (min if best is max else max)(each, key=lambda found: found["median"], default={})


def against_floor(
    taken: pd.DataFrame, # what `in_turns` gave
    tokens: int, embed_dim: int, hidden_size: int, # as for `operations`
    rate: float, # what `product_rate` gave
) -> dict[str, Taken]: # cell -> floor (seconds), and of our seconds over it: median, least, most
    "How many times as long as its matrix products our epoch takes."
    found = {}
    for cell in GATES:
        floor, seconds = operations(cell, tokens, embed_dim,
                                    hidden_size) / rate, taken.loc[taken["contender"]
                                                                   == f"{cell}, ours", "seconds"]
        if len(seconds):
            found[cell] = {"floor": floor, "median": seconds.median() / floor,
                           "least": seconds.min() / floor, "most": seconds.max() / floor}
    return found


def stream(
    texts: list[str], # real tweets
    rows: int, # tweets wanted
) -> Iterator[str]:
    "Tweets that are all different, the same ones at every call."
    words = [text.split() for text in texts]
    first, second = [" ".join(w[:len(w)//2]) for w in words], [" ".join(w[len(w)//2:])
                                                               for w in words]
    for number in range(rows):
        a, round_ = number % len(texts), number // len(texts)
        yield f"{first[a]} {second[(a + round_ + 1) % len(texts)]} http://t.co/{number:010x}".strip()


def write_stream(
    path: Path, # CSV file to write: id, text
    texts: list[str], # real tweets
    rows: int, # tweets wanted
) -> int: # bytes
    "Write the stream to a file."
    import csv
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "text"])
        writer.writerows(enumerate(stream(texts, rows)))
    return path.stat().st_size


def tree_mb(
    process, # psutil.Process
) -> float: # 10^6 bytes; 0 when it has ended
    "The memory held by a process and all that it has started."
    import psutil
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            try: total += one.memory_info().rss
            except psutil.NoSuchProcess: pass
    except psutil.NoSuchProcess: pass
    return total / 1e6


EVERY = 0.05 # seconds between two looks at the memory

def command(
    *words: str, # a command of this project, `disaster` left out
) -> Taken: # seconds, peak_mb
    "Run a command of this project from start to end; raises `RuntimeError` when it fails."
    import psutil
    program = Path(sys.executable).with_name("disaster")
    started, peak = time.perf_counter(), 0.0
    with subprocess.Popen([str(program if program.is_file() else shutil.which("disaster")), *words],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8",
                          errors="replace") as process:
        seen = psutil.Process(process.pid)
        while True:
            try: errors = process.communicate(timeout=EVERY)[1]
            except subprocess.TimeoutExpired: peak = max(peak, tree_mb(seen))
            else: break
    if process.returncode:
        raise RuntimeError(f"disaster {' '.join(words[:1])} ended with {process.returncode}: "
                           f"{errors[-500:]}")
    return {"seconds": time.perf_counter() - started, "peak_mb": peak}


def compare_starts(repetitions: int) -> pd.DataFrame: # what `in_turns` gave
    "How long `disaster --help`, the package alone and Python alone take to start."
    def python(code: str) -> Taken:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return {"seconds": time.perf_counter() - started}
    return in_turns({"disaster --help": lambda: command("--help"),
                     "import disaster_nbdev": lambda: python("import disaster_nbdev"),
                     "python": lambda: python("pass")}, repetitions)


def score_command(
    folder: Path, # holds the run
    source: Path, # CSV file
    rows: int, # tweets in it
) -> Taken: # seconds, peak_mb, rows, rate (tweets per second)
    "Score a file with the command, from its start to its end."
    (folder/"ours.csv").unlink(missing_ok=True)
    taken = command("score", str(source), "--run", str(folder/"run"), "--output",
                    str(folder/"ours.csv"))
    return {**taken, "rows": rows, "rate": rows / taken["seconds"]}


BASELINE = "logistic-words" # the quicker of the baselines with logistic regression

def scorers(
    folder: Path, # what `write_work` filled, with a saved run
    source: Path, # CSV file of tweets
    rows: dict[str, int], # contender (ours, study's path, TF-IDF) -> tweets
    process: Process, # for the two others
) -> dict[str, Callable[[], Taken]]: # contender -> a repetition
    "All who score, ready to do so."
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
    folder: Path, # what `write_work` filled
    source: Path, # CSV file of tweets
    rows: dict[str, int], # contender -> tweets
    repetitions: int, # turns
    **shape, # cell, hidden_size, embed_dim of the network that scores
) -> tuple[pd.DataFrame, float]: # what `in_turns` gave; the largest difference between our probabilities and the study's path's
    "Score the stream in turns, and see that the answers are the same."
    with Process() as process:
        process.call("save_run", folder=str(folder/"run"), vocabulary=str(folder/"vocabulary.json"),
                     **shape)
        taken = in_turns(scorers(folder, source, rows, process), repetitions)
    ours, theirs = (pd.read_csv(folder/name, usecols=["probability"],
                                nrows=rows["study's path"])["probability"]
                    for name in ("ours.csv", "study_scoring.csv"))
    return taken, float((ours - theirs).abs().max())


def compare_tables(
    folder: Path, # holds the run
    texts: list[str], # real tweets
    rows: int, # tweets read and written
    repetitions: int, # turns
) -> pd.DataFrame: # what `in_turns` gave, with rate (tweets per second)
    "Start, read, and write."
    one, source = folder/"one.csv", folder/"some.csv"
    write_stream(one, texts, 1); write_stream(source, texts, rows)
    with Process() as process:
        read = repeated(process, "read", "table_reading", source=str(source))
        write = repeated(process, "write", "table_writing", source=str(source),
                         target=str(folder/"written.csv"))
        taken = in_turns({"one tweet": lambda: score_command(folder, one, 1), "read": read,
                          "write": write}, repetitions)
    return taken.assign(rate=np.where(taken["contender"] == "one tweet", 1, rows)
                        / taken["seconds"])


BLOCK = 10_000 # vectors made at a time

def make_vectors(
    path: Path, # word2vec binary to write; with .gz added, the same packed
    words: tuple[str, ...], # that must be in it
    rows: int, # vectors in all, at least as many as the words
    embed_dim: int = 300,
) -> Path: # `path`
    "Write a collection of vectors, plain and packed."
    import gzip
    step, chance = max(1, rows // len(words)), np.random.default_rng(0)
    with open(path, "wb") as plain, gzip.open(f"{path}.gz", "wb", compresslevel=1) as packed:
        for file in (plain, packed): file.write(f"{rows} {embed_dim}\n".encode())
        for start in range(0, rows, BLOCK):
            numbers = chance.normal(size=(min(BLOCK, rows - start), embed_dim)).astype("float32")
            # rounded to seven binary digits
            numbers = (numbers.view("uint32") & np.uint32(0xFFFF0000)).view("float32")
            names = [words[row // step] if row % step == 0 and row // step < len(words)
                     else f"unasked_{row}" for row in range(start, start + len(numbers))]
            content = b"".join(name.encode() + b" " + vector.tobytes() + b"\n"
                               for name, vector in zip(names, numbers))
            for file in (plain, packed): file.write(content)
    return path


def apart(maker: str, environment: dict[str, str] | None = None, **options) -> Taken: # seconds, peak_mb, value
    "One repetition in a fresh process, for the sake of its memory."
    with Process(**environment or {}) as process:
        process.call("make", name=maker, maker=maker, **options)
        answer = process.call("again", name=maker)
    return {"seconds": answer["seconds"], "peak_mb": answer["peak_mb"], "value": answer["value"]}


def forget(path: Path) -> None:
    "Ask the system to drop what it keeps of a file in memory, so that the next reading comes from the disk; not every system can."
    if not hasattr(os, "posix_fadvise"): return
    with open(path, "rb") as file: os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

def from_disk(path: Path, maker: str, **options) -> Taken: # seconds, peak_mb, value
    "As `apart`, of a file that the system has forgotten."
    forget(path)
    return apart(maker, path=str(path), **options)


def compare_vectors(
    folder: Path, # what `write_work` filled; what is found in the file is noted there too
    path: Path, # word2vec binary; the same, packed, beside it with .gz added
    repetitions: int, # turns
) -> pd.DataFrame: # what `in_turns` gave, with peak_mb
    "Get the vocabulary's vectors in every way, each time in a fresh process."
    words, packed, noted = {"vocabulary": str(folder/"vocabulary.json")}, f"{path}.gz", {
        "XDG_CACHE_HOME": str(folder/"cache")}
    # so that all of them find the file where the system keeps what was read last
    apart("whole_reading", path=str(path))
    apart("our_vectors", noted, path=str(path), cached=True, **words)
    return in_turns({"ours": lambda: apart("our_vectors", path=str(path), **words),
                     "reading the file": lambda: apart("whole_reading", path=str(path)),
                     "ours, from the disk": lambda: from_disk(path, "our_vectors", **words),
                     "reading the file from the disk": lambda: from_disk(path, "whole_reading"),
                     "ours, a second time": lambda: apart("our_vectors", noted, path=str(path),
                                                          cached=True, **words),
                     "gensim": lambda: apart("gensim_vectors", path=str(path)),
                     "ours, packed": lambda: apart("our_vectors", path=packed, **words),
                     "unpacking the file": lambda: apart("whole_reading", path=packed,
                                                         packed=True),}, repetitions)


def compare_cleaning(
    folder: Path, # what `write_work` filled
    source: Path, # CSV file of the stream
    rows: int, # tweets of the stream
    few: int, # tweets that the plain definition is tried on
    repetitions: int, # turns
) -> pd.DataFrame: # what `in_turns` gave, with rate (tweets per second)
    "Tweets per second on one core: the stream, the real tweets met for the first time, and one by one."
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
        return in_turns({f"{way}, {kind}": rated(process, f"{way}, {kind}", way=way, **options)
                         for way in ("study", "aware") for kind, options in kinds.items()},
                        repetitions)


LIBRARIES = ("torch", "jax", "scipy", "psutil") # beside those of `runs.versions`
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "MKL_NUM_THREADS",
           "OPENBLAS_NUM_THREADS", "XLA_FLAGS")

def _processor() -> str:
    "What the processor calls itself."
    try: lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError: return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
                platform.machine())


def machine() -> dict: # processor, cores, memory_gb, system, load, versions, threads, date
    "The machine, as far as it matters for its speed."
    import psutil
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    more = {name: importlib.metadata.version(name) for name in LIBRARIES if find_spec(name)}
    return {"processor": _processor(), "cores": here, "memory_gb": round(psutil.virtual_memory().total / 1e9, 1), "system": f"{platform.system()} {platform.release()}", "load": round(os.getloadavg()[0], 2), # processes that wanted a core over the last minute
            "versions": {**versions(), **more}, "threads": {name: os.environ[name] for name in THREADS if name in os.environ},
            "date": datetime.now(timezone.utc).date().isoformat()}


TARGETS = { # figure -> (what it is, whether larger is better, target)
    "train_vs_study_recipe": ("An epoch of the study's recipe, in epochs of ours", True, 8),
    "train_vs_pytorch_packed": ("An epoch of PyTorch with packed sequences, at its better number of threads, in epochs of ours", True, 2),
    "train_vs_floor": ("Our epoch, in times of its matrix products alone", False, 4),
    "recurrent_dropout_vs_plain": ("Our epoch with recurrent dropout, in epochs without", False, 2),
    "score_rows_per_second": ("Tweets scored per second, start included", True, 50_000),
    "score_vs_study_path": ("Tweets scored per second, as a multiple of the study's path", True, 20),
    "score_vs_tfidf": ("Tweets scored per second, as a multiple of TF-IDF with logistic regression", True, 1),
    "vectors_peak_mb": ("Memory at the most while vectors are read, in MB", False, 400),
    "vectors_vs_read": ("Time to get the vectors, in times of reading the file", False, 1.5),
    "vectors_vs_gunzip": ("Time to get the vectors of a packed file, in times of unpacking it", False, 1.5),
    "clean_rows_per_second_core": ("Tweets cleaned per second and core, by the slower cleaning", True, 150_000),
    "import_seconds": ("Seconds until `disaster --help` has answered", False, 0.3),
}


def rate_figure(taken: pd.DataFrame, contender: str) -> Taken: # median, least, most
    "Tweets per second of one contender."
    return {name: float(value) for name, value in spread(taken[taken["contender"] == contender],
                                                         "rate").iloc[0].drop("contender").items()}


def figures(
    # what `compare_training` and `against_floor` gave
    trained: pd.DataFrame, floors: dict[str, Taken],
    # what the others gave
    scored: pd.DataFrame, read: pd.DataFrame, cleaned: pd.DataFrame, starts: pd.DataFrame,
) -> dict[str, Taken]: # figure of `TARGETS` -> median, least, most; empty where it could not be measured
    "All figures with their spreads."
    single = lambda taken, contender, value: {name: found
                                               for name, found in spread(
                                                   taken[taken["contender"] == contender],
                                                   value).iloc[0].items() if name != "contender"}
    return {"train_vs_study_recipe": worse(trained, ("study's recipe",), "ours"),
            "train_vs_pytorch_packed": worse(trained, PACKED, "ours"),
            "train_vs_floor": max(({**found, "cell": cell} for cell, found in floors.items()),
                                  key=lambda found: found["median"], default={}),
            "recurrent_dropout_vs_plain": worse(trained, ("ours, recurrent dropout",), "ours", min),
            "score_rows_per_second": single(scored, "ours", "rate"),
            "score_vs_study_path": ratio(scored, "ours", "study's path", "rate"),
            "score_vs_tfidf": ratio(scored, "ours", "TF-IDF", "rate"),
            "vectors_peak_mb": single(read, "ours", "peak_mb"),
            "vectors_vs_read": ratio(read, "ours", "reading the file"),
            "vectors_vs_gunzip": ratio(read, "ours, packed", "unpacking the file"),
            "clean_rows_per_second_core": min(
                (single(cleaned, f"{way}, stream", "rate") for way in ("study", "aware")),
                key=lambda found: found["median"]),
            "import_seconds": single(starts, "disaster --help", "seconds")}


def target_table(
    found: dict[str, Taken], # what `figures` gave
) -> pd.DataFrame: # figure, what it is, target, measured, least, most, met
    "Target, measured, met or not."
    rows = []
    for name, (words, larger, target) in TARGETS.items():
        measured = found[name].get("median")
        met = ("not measured" if measured is None else "met"
               if (measured >= target if larger else measured <= target) else "not met")
        aimed = f"{'at least' if larger else 'at most'} {notation(target)}"
        cell = f" ({found[name]['cell'].upper()})" if "cell" in found[name] else ""
        rows.append({"figure": name, "what it is": words + cell, "target": aimed,
                     "measured": measured, "least": found[name].get("least"),
                     "most": found[name].get("most"), "met": met})
    return pd.DataFrame(rows)


def verdict(
    judged: pd.DataFrame, # what `target_table` gave
    absent: list[str], # contenders that were not measured
) -> str: # Markdown
    "What the measurements allow one to say."
    words = {"met": "Met", "not met": "Not met", "not measured": "Not measured"}
    lines = []
    for met, title in words.items():
        part = judged[judged["met"] == met]
        told = [f"{row.what} ({notation(row.measured)}, {row.target} wanted)"
                if met != "not measured" else row.what
                for row in part.rename(columns={"what it is": "what"}).itertuples()]
        if told: lines.append(f"- **{title}**: " + "; ".join(told) + ".")
    if absent:
        lines.append(f"- These took no part: {', '.join(absent)}. PyTorch and JAX come with the "
                     f"extra `bench`.")
    return "\n".join(lines)


def capacity_facts(
    scored: pd.DataFrame, tables: pd.DataFrame, # what `compare_scoring` and `compare_tables` gave
    rows: int, # tweets of the file that was scored
    read: int, written: int, # bytes of that file, and of what was written
    cores: int,
) -> dict[str, float]:
    "Rates of one machine in tweets per second, sizes in bytes per tweet, memory in MB, seconds to start."
    ours = scored[scored["contender"] == "ours"]
    # less the start, where the file is long enough for that to mean something
    seconds = ours["seconds"].median()
    rates, start = spread(tables, "rate").set_index("contender")["median"], spread(
        tables).set_index("contender")["median"]["one tweet"]
    return {"score_rate": float(rows / (seconds - start if seconds > 2*start else seconds)),
            "start_seconds": float(start), "cores": cores,
            "memory_mb": float(ours["peak_mb"].max()), "read_rate": float(rates["read"]),
            "write_rate": float(rates["write"]), "bytes_in": read / rows,
            "bytes_out": written / rows}


def write_benchmark(
    report: Path, # what `report_folder` gave
    found: dict[str, Taken], # what `figures` gave
    **details, # all that was measured: tables and facts
) -> Path: # benchmark.json
    "Write the figures and all that they rest on, whole or not at all."
    plain = {name: value.to_dict("records") if isinstance(value, pd.DataFrame) else value
             for name, value in details.items()}
    report.mkdir(parents=True, exist_ok=True)
    facts = {"schema": 1, **{name: found[name].get("median") for name in TARGETS},
             "details": {"spreads": found, "targets": target_table(found).to_dict("records"),
                         **plain}}
    write_whole(report/"benchmark.json", to_json(facts))
    return report/"benchmark.json"


def read_benchmark(report: Path) -> dict: # what `write_benchmark` wrote
    "Read the figures; raises `UserError` when they are not there or damaged."
    try: facts = json.loads((report/"benchmark.json").read_text(encoding="utf-8"))
    except OSError:
        raise UserError(
            f"There is no benchmark.json in {report}: run `make benchmark` first.") from None
    except ValueError: facts = None
    if not isinstance(facts, dict) or facts.get("schema") != 1 or not {*TARGETS,
                                                                       "details"} <= facts.keys():
        raise UserError(f"{report/'benchmark.json'} is damaged, or of another version; run "
                        f"`make benchmark` again.")
    return facts


def plot_bars(
    measured: pd.DataFrame, # contender, median, least, most
    title: str,
    axis: str, # what is measured, with its unit
    marks: dict[str, float] | None = None, # name of a line across -> its value
    ours: str = "ours", # contenders whose name holds this are drawn in the colour of this project
) -> "Figure":
    "A bar for each contender on a logarithmic axis, with the least and the most that were measured."
    from disaster_nbdev.evaluation import PALETTE, _plain, figure
    drawn = figure(title, 8, 1.4 + 0.34 * len(measured))
    axes, rows = _plain(drawn.add_subplot(), axis, ""), range(len(measured))
    colours = [PALETTE["not a disaster"] if ours in name else PALETTE["orange"]
               for name in measured["contender"]]
    axes.barh(rows, measured["median"], color=colours, height=0.6)
    axes.hlines(rows, measured["least"], measured["most"], color="black", linewidth=1.5)
    axes.set_xscale("log"); axes.set_yticks(rows, measured["contender"]); axes.invert_yaxis()
    for row, value in zip(rows, measured["median"]):
        axes.text(1.01, row, notation(value), transform=axes.get_yaxis_transform(), va="center")
    for name, value in (marks or {}).items():
        axes.axvline(value, color=PALETTE["grey"], linestyle=":", label=f"{name}: {value:.3g}")
    if marks: drawn.legend(loc="outside lower center", ncols=2, frameon=False)
    return drawn


def bar_words(measured: pd.DataFrame, unit: str) -> str: # measured: contender, median
    "What such a plot shows, in words."
    return ("Bars of the medians. " + "; ".join(f"{row.contender} {notation(row.median)}"
                                                for row in measured.itertuples()) + f" {unit}.")


def page_times(
    # what `report_folder` gave; its executed notebooks are read, where they are still there
    report: Path,
) -> pd.DataFrame: # page, seconds, training, preparing and judging, starting; the longest first
    "What the pages of a report took, part by part, in seconds."
    rows = []
    for path in sorted((report/"notebooks").glob("[!.]*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        took = lambda part: part["metadata"].get("papermill", {}).get("duration") or 0.0
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        training = sum(took(cell) for cell in cells if "log" in cell["metadata"].get("tags", []))
        inside = sum(map(took, cells))
        rows.append({"page": path.stem, "seconds": took(notebook), "training": training,
                     "preparing and judging": inside - training,
                     "starting": took(notebook) - inside})
    table = pd.DataFrame(rows, columns=["page", "seconds", "training", "preparing and judging",
                                        "starting"])
    return table[~table["page"].isin(["benchmark", "capacity"])].sort_values("seconds",
                                                                             ascending=False,
                                                                             ignore_index=True)


def quick_and_plain(
    report: Path, # what `report_folder` gave
    quick: str = "gru-glove", plain: str = "gru-shuffled-glove", # runs on several splits
) -> pd.DataFrame: # split, difference (quick less plain), from, to, p-value; empty when one of the two is not recorded
    "How the accuracy differs, tweet by tweet."
    from disaster_nbdev.splits import paired, read_repeats, together
    both = sorted((one for one in read_repeats(report, []) if one.name in (quick, plain)),
                  key=lambda one: one.name != quick)
    columns = {"split": "split", "difference": "difference", "low": "from", "high": "to",
               "p_value": "p-value"}
    if len(both) < 2: return pd.DataFrame(columns=list(columns.values()))
    return paired(together(both))[list(columns)].rename(columns=columns)
