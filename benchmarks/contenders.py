"""What is measured against what, each in a process of its own: trainings, scorings, readers of vectors, cleanings."""


import json, os, subprocess, sys, time, traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np


def peak_mb() -> float: # 10^6 bytes
    "The most memory that this process has held, files that it maps included."
    import resource
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                / (1e6 if sys.platform == "darwin" else 1e3))
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def serve() -> None:
    "Answer requests on standard input until there are no more."
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1) # libraries and epochs print; that must not mix with the answers
    for line in sys.stdin:
        request, started = json.loads(line), time.perf_counter()
        try: answer = {"value": globals()[request["function"]](**request["arguments"])}
        except Exception: answer = {"error": traceback.format_exc()}
        answer |= {"seconds": time.perf_counter() - started, "peak_mb": peak_mb()}
        print(json.dumps(answer), file=answers, flush=True)


# Keras's own defaults, whatever the user has set
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUTF8": "1", "KERAS_BACKEND": "tensorflow",
               "KERAS_HOME": f"{os.devnull}/keras"}

def search_path() -> str:
    "Return PYTHONPATH with this folder in front."
    return os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))


class Process:
    "A process that runs functions of this module; used in a `with` statement."
    def __init__(self, **environment: str): # added to this process's own
        words = [sys.executable, "-c", "from contenders import serve; serve()"]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, encoding="utf-8",
                                        env={**os.environ, **ENVIRONMENT, **environment,
                                             "PYTHONPATH": search_path()})

    def call(self, function: str, **arguments) -> dict: # value, seconds, peak_mb
        "Call a function by name; raises `RuntimeError` with what went wrong over there."
        print(json.dumps({"function": function, "arguments": arguments}), file=self.process.stdin,
              flush=True)
        answer = json.loads(self.process.stdout.readline() or '{"error": "The process ended '
                                                              'without an answer; perhaps the '
                                                              'memory was full."}')
        if "error" in answer: raise RuntimeError(f"{function}: {answer['error']}")
        return answer

    def __enter__(self) -> "Process": return self

    def __exit__(self, *problem) -> None:
        self.process.kill() # it holds nothing that is worth an orderly end
        self.process.communicate()


ALIVE: dict[str, Callable] = {} # name -> one repetition of what a maker has made in this process

def make(name: str, maker: str, **options) -> None: # maker: a function of this module that gives back a function
    "Prepare a contender; its first repetition may still compile."
    ALIVE[name] = globals()[maker](**options)

def again(name: str): # what the repetition gives back
    "One repetition of a contender."
    return ALIVE[name]()


@lru_cache
def given(
    work: str, # the file that `benchmark.write_work` made
) -> tuple[np.ndarray, np.ndarray]: # ids int32 (n, longest), labels int64 (n,)
    "The tweets to train on."
    with np.load(work) as file: return file["ids"], file["labels"]

@lru_cache
def vectors(rows: int, embed_dim: int) -> np.ndarray: # float32 (rows, embed_dim), row 0 zero
    "As many vectors as the study had; row 0 is the padding."
    drawn = np.random.default_rng(0).normal(size=(rows, embed_dim)).astype("float32")
    drawn[0] = 0
    return drawn


def padded(
    ids: np.ndarray, # int32 (n, longest)
    seq_len: int, # words per row; 0: as many as there are
) -> np.ndarray: # int32 (n, seq_len)
    "The same rows, padded further or cut."
    seq_len = seq_len or ids.shape[1]
    return np.pad(ids[:, :seq_len], ((0, 0), (0, max(0, seq_len - ids.shape[1]))))


def plain_network(
    cell: str, # lstm | gru
    matrix: np.ndarray, # float32 (rows, embed_dim)
    seq_len: int, # words per row
    hidden_size: int, # units per direction
    dropped: float = 0.0, # input and recurrent dropout of the cell, fraction of 1
): # keras.Model, compiled
    "The study's network (source: the study)."
    import keras
    kind = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[cell]
    network = keras.Sequential([keras.layers.Input((seq_len,), dtype="int32"),
                                keras.layers.Embedding(*matrix.shape, mask_zero=True,
                                                       trainable=False),
                                keras.layers.Bidirectional(
                                    kind(hidden_size, dropout=dropped, recurrent_dropout=dropped)),
                                keras.layers.Dropout(0.3),
                                keras.layers.Dense(16, activation="relu"),
                                keras.layers.Dense(1, activation="sigmoid")])
    network.layers[0].set_weights([matrix])
    network.compile(optimizer=keras.optimizers.Adam(1e-4), loss="binary_crossentropy",
                    metrics=["accuracy"])
    return network


def fitted_epoch(
    model, # keras.Model, compiled
    **given, # arguments of `fit`
) -> dict[str, float]: # seconds
    "One epoch of `fit`, without what comes before it."
    import keras
    times = []
    clock = keras.callbacks.LambdaCallback(on_epoch_begin=lambda
                                           *_: times.append(time.perf_counter()),
                                           on_epoch_end=lambda *_: times.append(
                                               time.perf_counter()))
    model.fit(**given, epochs=1, verbose=0, callbacks=[clock])
    return {"seconds": times[1] - times[0]}


def keras_epochs(
    work: str, # what `given` reads
    rows: int, # of the matrix of vectors
    embed_dim: int,
    batch_size: int, # tweets per step
    seq_len: int = 0, # words per row; 0: of the longest tweet
    **network, # cell, hidden_size, dropped
) -> Callable[[], dict[str, float]]: # seconds
    "Epochs of the plain Keras network."
    ids, labels = given(work)
    inputs = padded(ids, seq_len)
    model = plain_network(matrix=vectors(rows, embed_dim), seq_len=inputs.shape[1], **network)
    return lambda: fitted_epoch(model, x=inputs, y=labels, batch_size=batch_size)


def our_epochs(
    work: str, # what `given` reads
    rows: int, # of the matrix of vectors
    embed_dim: int,
    **changes, # fields of RunConfig
) -> Callable[[], dict[str, float]]: # seconds
    "Epochs of `training.fit`, without the validation that follows each: the others have none."
    import pandas as pd
    from disaster_nbdev import training
    config = training.validated(training.RunConfig(
        **{"buckets": True, "epochs": 1, "patience": 0, **changes}))
    ids, labels = given(work)
    frames = {part: pd.DataFrame({"target": labels[:n]})
              for part, n in (("train", len(labels)), ("validation", 1))}
    inputs = {part: {"words": ids[:len(frame)]} for part, frame in frames.items()}
    prepared = training.Prepared(training.Reader(config), vectors(rows, embed_dim), frames, inputs)
    model = training.network(config, prepared)
    learned = {name: value for name, value in training.batches(model, prepared, config).items()
               if name != "validation_data"}
    return lambda: fitted_epoch(model, **learned)


def torch_network(
    cell: str, # lstm | gru
    matrix: np.ndarray, # float32 (rows, embed_dim)
    hidden_size: int, # units per direction
    packed: bool,
): # torch.nn.Module: ids (batch, seq_len), lengths (batch,) -> log odds (batch,)
    "The study's network in PyTorch."
    import torch
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding.from_pretrained(torch.from_numpy(matrix),
                                                                freeze=True)
            self.cell = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](matrix.shape[1],
                                                                           hidden_size,
                                                                           batch_first=True,
                                                                           bidirectional=True)
            self.head = torch.nn.Sequential(torch.nn.Dropout(0.3),
                                            torch.nn.Linear(2*hidden_size, 16), torch.nn.ReLU(),
                                            torch.nn.Linear(16, 1))

        def forward(self, ids, lengths):
            words = self.embedding(ids)
            if packed:
                words = torch.nn.utils.rnn.pack_padded_sequence(words, lengths, batch_first=True,
                                                                enforce_sorted=False)
            last = self.cell(words)[1]
            last = last[0] if cell == "lstm" else last # an LSTM gives its memory too
            return self.head(torch.cat([last[0], last[1]], dim=1))[:, 0]
    return Network()


def torch_epochs(
    work: str, # what `given` reads
    rows: int, # of the matrix of vectors
    embed_dim: int,
    batch_size: int, # tweets per step
    **network, # cell, hidden_size, packed
) -> Callable[[], None]:
    "Epochs of the PyTorch network."
    import torch
    ids, labels = given(work)
    lengths, words = torch.from_numpy((ids != 0).sum(1)), torch.from_numpy(ids.astype("int64"))
    targets, model = torch.from_numpy(labels.astype("float32")), torch_network(
        matrix=vectors(rows, embed_dim), **network)
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad],
                                 lr=1e-4)
    def epoch() -> None:
        for part in torch.randperm(len(words)).split(batch_size):
            optimizer.zero_grad()
            said = model(words[part, :lengths[part].max()], lengths[part])
            torch.nn.functional.binary_cross_entropy_with_logits(said, targets[part]).backward()
            optimizer.step()
    return epoch


def products(
    library: str, # numpy | tensorflow
    size: int, # rows and columns of each matrix
    times: int, # products in one repetition
) -> Callable[[], None]:
    "Products of two large matrices of float32 numbers."
    a = np.random.default_rng(0).normal(size=(size, size)).astype("float32")
    multiply = np.matmul
    if library == "tensorflow":
        import tensorflow as tf
        a, multiply = tf.constant(a), tf.matmul
    def repetition() -> None:
        for _ in range(times): result = multiply(a, a)
        np.asarray(result)
    return repetition


def save_run(
    folder: str, # becomes a saved run
    vocabulary: str, # a vocabulary's JSON file
    embed_dim: int,
    **changes, # fields of RunConfig
) -> None:
    "Save a network of the study's shape that has not been trained; scoring takes the same time with any weights."
    from disaster_nbdev import training
    from disaster_nbdev.model import build
    from disaster_nbdev.vocabulary import from_json
    words = from_json(Path(vocabulary).read_text(encoding="utf-8"))
    config = training.validated(training.RunConfig(**changes))
    training.save_model(Path(folder), build(config, vectors(words.rows, embed_dim)),
                        training.Reader(config, words))


def study_scoring(
    source: str, # CSV file
    target: str, # CSV file to write
    rows: int, # scored, from the top
    run: str, # folder of a saved run
    seq_len: int = 100, # words per row
) -> Callable[[], None]:
    "Scoring as the study would have done it."
    import pandas as pd
    from disaster_nbdev.clean import clean_study
    from disaster_nbdev.training import load_model
    from disaster_nbdev.vocabulary import encode
    saved, reader = load_model(Path(run))
    weights = saved.get_weights()
    network = plain_network(reader.config.cell, weights[0], seq_len, reader.config.hidden_size)
    network.set_weights(weights)
    def repetition() -> None:
        table = pd.read_csv(source, nrows=rows)
        ids = encode(reader.vocabulary, [clean_study(text) for text in table["text"]], seq_len)
        table.assign(probability=network.predict(ids, batch_size=32, verbose=0)[:, 0]).to_csv(
            target, index=False)
    network.predict(np.ones((32, seq_len), "int32"), verbose=0)
    return repetition


def counts_scoring(
    source: str, # CSV file
    target: str, # CSV file to write
    rows: int, # scored, from the top
    train: str, # CSV file with text and target
    baseline: str, # a key of `baseline.BASELINES`
) -> Callable[[], None]:
    "Scoring with TF-IDF and a linear classifier, by scikit-learn and pandas."
    import pandas as pd
    from disaster_nbdev.baseline import fit, probabilities
    known = pd.read_csv(train, keep_default_na=False)
    pipeline = fit(baseline, known["text"], known["target"])
    def repetition() -> None:
        table = pd.read_csv(source, nrows=rows)
        table.assign(probability=probabilities(pipeline, table["text"])).to_csv(target, index=False)
    return repetition


def our_vectors(
    path: str, # word2vec binary, gzip or not
    vocabulary: str, # a vocabulary's JSON file
    cached: bool = False, # whether what an earlier call has found may be taken
) -> Callable[[], list[int]]: # gives back words asked for, words found
    "The vocabulary's vectors out of a file."
    from disaster_nbdev.embedding import file_matrix
    from disaster_nbdev.vocabulary import from_json
    words = from_json(Path(vocabulary).read_text(encoding="utf-8"))
    def repetition() -> list[int]:
        return [len(words.words), int(file_matrix(words, path, cached=cached).any(axis=1).sum())]
    return repetition


def whole_reading(
    path: str,
    packed: bool = False, # whether the file is gzip, to be unpacked by Python's own module
) -> Callable[[], int]: # gives back the number of bytes
    "Read a file to its end in pieces of 1 MB, and keep nothing."
    import gzip
    buffer = bytearray(1 << 20)
    def repetition() -> int:
        with (gzip.open(path) if packed else open(path, "rb", buffering=0)) as file:
            return sum(iter(lambda: file.readinto(buffer), 0))
    return repetition


def gensim_vectors(path: str) -> Callable[[], list[int]]: # gives back the shape of all vectors
    "All vectors of a file, by gensim, as the study read them."
    from gensim.models import KeyedVectors
    return lambda: list(KeyedVectors.load_word2vec_format(path, binary=True).vectors.shape)


def remembered(
    embedding: str, # a name that `embedding.ranks` knows
    texts: list[str],
) -> dict[str, int]: # word -> rank
    "The ranks of all words that cleaning these tweets asks for and that have a vector."
    from disaster_nbdev.clean import clean
    from disaster_nbdev.embedding import ranks
    known: dict[str, int] = {}
    def ask(words: set[str]) -> dict[str, int]:
        known.update(ranks(embedding, words))
        return known
    clean(texts, "aware", ask)
    return known


def cleaning(
    source: str, # CSV file with a column text
    rows: int, # tweets, from the top; 0: all
    way: str, # a key of `clean.CLEANINGS`
    plain: bool = False, # whether the plain definition is called for each tweet by itself
    embedding: str = "glove", # whose words `aware` follows
) -> Callable[[], int]: # gives back the number of tweets
    "Clean distinct tweets with a cleaner that has seen none of them."
    import pandas as pd
    from disaster_nbdev import clean
    texts = pd.read_csv(source, usecols=["text"], keep_default_na=False,
                        nrows=rows or None)["text"].drop_duplicates().tolist()
    ranks = remembered(embedding, texts) if way == "aware" else None
    def by_itself() -> int:
        return len([clean.clean_study(text) if way == "study" else clean.clean_aware(text, ranks)
                    for text in texts])
    def repetition() -> int: return len(clean.cleaner(way, ranks)(texts))
    return by_itself if plain else repetition


def table_reading(source: str) -> Callable[[], int]: # gives back the number of tweets
    "Read a table as `disaster score` does, up to the texts."
    from disaster_nbdev.tables import chunks, form_of
    def repetition() -> int:
        return sum(len(chunk.texts("text")) for chunk in chunks(source, form_of(source)))
    return repetition

def table_writing(source: str, target: str) -> Callable[[], int]: # gives back the number of bytes
    "Write a table with the columns of a score as `disaster score` does."
    from disaster_nbdev.tables import chunk_bytes, chunks, form_of
    form = form_of(source)
    pieces = [(chunk, {"probability": np.random.default_rng(0).random(len(chunk)),
                       "label": np.zeros(len(chunk), "int64"),
                       "priority": np.full(len(chunk), "medium")})
              for chunk in chunks(source, form)]
    def repetition() -> int:
        with open(target, "wb") as file:
            return sum(file.write(chunk_bytes(chunk, added, form)) for chunk, added in pieces)
    return repetition
