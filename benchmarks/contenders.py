"""Define the contenders: training, scoring, loading of vectors and cleaning, in processes."""


import json, os, subprocess, sys, time, traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np


def peak_mb() -> float: # 10^6 bytes
    "Return the peak memory of this process, mapped files included."
    import resource
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                / (1e6 if sys.platform == "darwin" else 1e3))
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def serve() -> None:
    "Answer requests from standard input until it ends."
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1) # keeps what libraries print out of the answers
    for line in sys.stdin:
        request, started = json.loads(line), time.perf_counter()
        try: answer = {"value": globals()[request["function"]](**request["arguments"])}
        except Exception: answer = {"error": traceback.format_exc()}
        answer |= {"seconds": time.perf_counter() - started, "peak_mb": peak_mb()}
        print(json.dumps(answer), file=answers, flush=True)


# Keras's defaults, not the user's settings
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUTF8": "1", "KERAS_BACKEND": "tensorflow",
               "KERAS_HOME": f"{os.devnull}/keras"}

def search_path() -> str:
    "Return PYTHONPATH with this folder in front."
    return os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))


class Process:
    "Run functions of this module in another process; use in a `with` statement."
    def __init__(self, **environment: str): # added to this process's environment
        words = [sys.executable, "-c", "from contenders import serve; serve()"]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, encoding="utf-8",
                                        env={**os.environ, **ENVIRONMENT, **environment,
                                             "PYTHONPATH": search_path()})

    def call(self, function: str, **arguments) -> dict: # value, seconds, peak_mb
        "Call a function by name; raise `RuntimeError` with its traceback if it fails."
        request = json.dumps({"function": function, "arguments": arguments})
        print(request, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{function}: The process ended without an answer; it may have run "
                               f"out of memory.")
        answer = json.loads(line)
        if "error" in answer: raise RuntimeError(f"{function}: {answer['error']}")
        return answer

    def __enter__(self) -> "Process": return self

    def __exit__(self, *problem) -> None:
        self.process.kill() # it has nothing to save
        self.process.communicate()


ALIVE: dict[str, Callable] = {} # name -> function that runs one repetition in this process

def make(
    name: str, # of the contender
    maker: str, # function of this module that returns a function
    **options, # arguments of the maker
) -> None:
    "Prepare a contender; its first repetition may still compile."
    ALIVE[name] = globals()[maker](**options)

def again(name: str): # result of the repetition
    "Run one repetition of a contender."
    return ALIVE[name]()


@lru_cache
def given(
    work: str, # work.npz, written by `benchmark.write_work`
) -> tuple[np.ndarray, np.ndarray]: # ids int32 (n, longest), labels int64 (n,)
    "Return the training tweets."
    with np.load(work) as file: return file["ids"], file["labels"]

@lru_cache
def vectors(rows: int, embed_dim: int) -> np.ndarray: # float32 (rows, embed_dim), row 0 zero
    "Return random vectors; row 0 is the padding."
    drawn = np.random.default_rng(0).normal(size=(rows, embed_dim)).astype("float32")
    drawn[0] = 0
    return drawn


def padded(
    ids: np.ndarray, # int32 (n, longest)
    seq_len: int, # words per row; 0: no change
) -> np.ndarray: # int32 (n, seq_len)
    "Pad or truncate each row to `seq_len` words."
    seq_len = seq_len or ids.shape[1]
    return np.pad(ids[:, :seq_len], ((0, 0), (0, max(0, seq_len - ids.shape[1]))))


def plain_network(
    cell: str, # lstm | gru
    matrix: np.ndarray, # float32 (rows, embed_dim)
    seq_len: int, # words per row
    hidden_size: int, # units per direction
    dropped: float = 0.0, # input and recurrent dropout of the cell, fraction of 1
): # keras.Model, compiled
    "Build the study's network in Keras."
    import keras
    layers = keras.layers
    kind = {"lstm": layers.LSTM, "gru": layers.GRU}[cell]
    recurrent = kind(hidden_size, dropout=dropped, recurrent_dropout=dropped)
    network = keras.Sequential([
        layers.Input((seq_len,), dtype="int32"),
        layers.Embedding(*matrix.shape, mask_zero=True, trainable=False),
        layers.Bidirectional(recurrent),
        layers.Dropout(0.3),
        layers.Dense(16, activation="relu"),
        layers.Dense(1, activation="sigmoid"),
    ])
    network.layers[0].set_weights([matrix])
    network.compile(optimizer=keras.optimizers.Adam(1e-4), loss="binary_crossentropy",
                    metrics=["accuracy"])
    return network


def fitted_epoch(
    model, # keras.Model, compiled
    **given, # arguments of `fit`
) -> dict[str, float]: # seconds
    "Time one epoch of `fit`, without the setup before it."
    import keras
    times = []
    def record(*_) -> None: times.append(time.perf_counter())
    clock = keras.callbacks.LambdaCallback(on_epoch_begin=record, on_epoch_end=record)
    model.fit(**given, epochs=1, verbose=0, callbacks=[clock])
    return {"seconds": times[1] - times[0]}


def keras_epochs(
    work: str, # read by `given`
    rows: int, # of the embedding matrix
    embed_dim: int,
    batch_size: int, # tweets per step
    seq_len: int = 0, # words per row; 0: length of the longest tweet
    **network, # cell, hidden_size, dropped
) -> Callable[[], dict[str, float]]: # seconds
    "Prepare epochs of the plain Keras network."
    ids, labels = given(work)
    inputs = padded(ids, seq_len)
    model = plain_network(matrix=vectors(rows, embed_dim), seq_len=inputs.shape[1], **network)
    return lambda: fitted_epoch(model, x=inputs, y=labels, batch_size=batch_size)


def our_epochs(
    work: str, # read by `given`
    rows: int, # of the embedding matrix
    embed_dim: int,
    **changes, # fields of RunConfig
) -> Callable[[], dict[str, float]]: # seconds
    "Prepare epochs of `training.fit` without validation, which the others do not have either."
    import pandas as pd
    from disaster_nbdev import training, run_config, featurizer
    config = run_config.validated(run_config.RunConfig(
        **{"buckets": True, "epochs": 1, "patience": 0, **changes}))
    ids, labels = given(work)
    frames = {part: pd.DataFrame({"target": labels[:n]})
              for part, n in (("train", len(labels)), ("validation", 1))}
    inputs = {part: {"words": ids[:len(frame)]} for part, frame in frames.items()}
    prepared = training.Prepared(featurizer.Featurizer(config), vectors(rows, embed_dim), frames,
                                 inputs)
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
    "Build the study's network in PyTorch."
    import torch
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding.from_pretrained(torch.from_numpy(matrix),
                                                                freeze=True)
            kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
            self.cell = kind(matrix.shape[1], hidden_size, batch_first=True, bidirectional=True)
            self.head = torch.nn.Sequential(
                torch.nn.Dropout(0.3), torch.nn.Linear(2*hidden_size, 16), torch.nn.ReLU(),
                torch.nn.Linear(16, 1))

        def forward(self, ids, lengths):
            words = self.embedding(ids)
            if packed:
                words = torch.nn.utils.rnn.pack_padded_sequence(words, lengths, batch_first=True,
                                                                enforce_sorted=False)
            last = self.cell(words)[1]
            last = last[0] if cell == "lstm" else last # an LSTM also returns its cell state
            return self.head(torch.cat([last[0], last[1]], dim=1))[:, 0]
    return Network()


def torch_epochs(
    work: str, # read by `given`
    rows: int, # of the embedding matrix
    embed_dim: int,
    batch_size: int, # tweets per step
    **network, # cell, hidden_size, packed
) -> Callable[[], None]:
    "Prepare epochs of the PyTorch network."
    import torch
    ids, labels = given(work)
    lengths = torch.from_numpy((ids != 0).sum(1))
    words = torch.from_numpy(ids.astype("int64"))
    targets = torch.from_numpy(labels.astype("float32"))
    model = torch_network(matrix=vectors(rows, embed_dim), **network)
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=1e-4)
    def epoch() -> None:
        for part in torch.randperm(len(words)).split(batch_size):
            optimizer.zero_grad()
            logits = model(words[part, :lengths[part].max()], lengths[part])
            torch.nn.functional.binary_cross_entropy_with_logits(logits, targets[part]).backward()
            optimizer.step()
    return epoch


def products(
    library: str, # numpy | tensorflow
    size: int, # rows and columns of each matrix
    times: int, # products per repetition
) -> Callable[[], None]:
    "Prepare products of two large float32 matrices."
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
    folder: str, # of the saved run
    vocabulary: str, # JSON file of a vocabulary
    embed_dim: int,
    **changes, # fields of RunConfig
) -> None:
    "Save an untrained network; scoring takes the same time with any weights."
    from disaster_nbdev import training, run_config, featurizer
    from disaster_nbdev.model import build
    from disaster_nbdev.vocabulary import from_json
    words = from_json(Path(vocabulary).read_text(encoding="utf-8"))
    config = run_config.validated(run_config.RunConfig(**changes))
    training.save_model(Path(folder), build(config, vectors(words.rows, embed_dim)),
                        featurizer.Featurizer(config, words))


def study_scoring(
    source: str, # CSV file
    target: str, # CSV file to write
    rows: int, # number of tweets, from the top
    run: str, # folder of a saved run
    seq_len: int = 100, # words per row
) -> Callable[[], None]:
    "Prepare scoring as the study would have done it."
    import pandas as pd
    from disaster_nbdev.clean import clean_study
    from disaster_nbdev.training import load_model
    from disaster_nbdev.vocabulary import encode
    saved, featurizer = load_model(Path(run))
    weights = saved.get_weights()
    config = featurizer.config
    network = plain_network(config.cell, weights[0], seq_len, config.hidden_size)
    network.set_weights(weights)
    def repetition() -> None:
        table = pd.read_csv(source, nrows=rows)
        cleaned = [clean_study(text) for text in table["text"]]
        ids = encode(featurizer.vocabulary, cleaned, seq_len)
        probabilities = network.predict(ids, batch_size=32, verbose=0)[:, 0]
        table.assign(probability=probabilities).to_csv(target, index=False)
    network.predict(np.ones((32, seq_len), "int32"), verbose=0)
    return repetition


def counts_scoring(
    source: str, # CSV file
    target: str, # CSV file to write
    rows: int, # number of tweets, from the top
    train: str, # CSV file with columns text and target
    baseline: str, # a key of `baseline.BASELINES`
) -> Callable[[], None]:
    "Prepare scoring with TF-IDF and a linear classifier from scikit-learn."
    import pandas as pd
    from disaster_nbdev.baseline import fit, probabilities
    known = pd.read_csv(train, keep_default_na=False)
    pipeline = fit(baseline, known["text"], known["target"])
    def repetition() -> None:
        table = pd.read_csv(source, nrows=rows)
        table.assign(probability=probabilities(pipeline, table["text"])).to_csv(target, index=False)
    return repetition


def our_vectors(
    path: str, # word2vec binary, plain or gzip
    vocabulary: str, # JSON file of a vocabulary
    cached: bool = False, # whether cached results of an earlier call may be used
) -> Callable[[], list[int]]: # returns the number of words requested and found
    "Prepare loading the vocabulary's vectors from a file."
    from disaster_nbdev.embedding import file_matrix
    from disaster_nbdev.vocabulary import from_json
    words = from_json(Path(vocabulary).read_text(encoding="utf-8"))
    def repetition() -> list[int]:
        matrix = file_matrix(words, path, cached=cached)
        return [len(words.words), int(matrix.any(axis=1).sum())]
    return repetition


def whole_reading(
    path: str,
    packed: bool = False, # whether the file is gzip; Python's own module decompresses it
) -> Callable[[], int]: # returns the number of bytes
    "Prepare reading a file to its end in blocks of 1 MB, without keeping anything."
    import gzip
    buffer = bytearray(1 << 20)
    def repetition() -> int:
        with (gzip.open(path) if packed else open(path, "rb", buffering=0)) as file:
            return sum(iter(lambda: file.readinto(buffer), 0))
    return repetition


def gensim_vectors(path: str) -> Callable[[], list[int]]: # returns the shape of all vectors
    "Prepare loading all vectors of a file with gensim, as the study did."
    from gensim.models import KeyedVectors
    return lambda: list(KeyedVectors.load_word2vec_format(path, binary=True).vectors.shape)


def remembered(
    embedding: str, # an embedding name for `embedding.ranks`
    texts: list[str],
) -> dict[str, int]: # word -> rank
    "Return the ranks of all words with a vector that cleaning these tweets looks up."
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
    rows: int, # number of tweets, from the top; 0: all
    way: str, # a key of `clean.CLEANINGS`
    plain: bool = False, # whether to call the plain definition for one tweet at a time
    embedding: str = "glove", # vocabulary of the `aware` cleaning
) -> Callable[[], int]: # returns the number of tweets
    "Prepare cleaning distinct tweets with a cleaner that has seen none of them."
    import pandas as pd
    from disaster_nbdev import clean
    table = pd.read_csv(source, usecols=["text"], keep_default_na=False, nrows=rows or None)
    texts = table["text"].drop_duplicates().tolist()
    ranks = remembered(embedding, texts) if way == "aware" else None
    def by_itself() -> int:
        return len([clean.clean_study(text) if way == "study" else clean.clean_aware(text, ranks)
                    for text in texts])
    def repetition() -> int:
        return len(clean.cleaner(way, ranks)(texts))
    return by_itself if plain else repetition


def table_reading(source: str) -> Callable[[], int]: # returns the number of tweets
    "Prepare reading a table as `disaster score` does, up to the texts."
    from disaster_nbdev.tables import chunks, format_of
    def repetition() -> int:
        return sum(len(chunk.texts("text")) for chunk in chunks(source, format_of(source)))
    return repetition

def table_writing(source: str, target: str) -> Callable[[], int]: # returns the number of bytes
    "Prepare writing a table with score columns, as `disaster score` does."
    from disaster_nbdev.tables import chunk_bytes, chunks, format_of
    form = format_of(source)
    pieces = [(chunk, {"probability": np.random.default_rng(0).random(len(chunk)),
                       "label": np.zeros(len(chunk), "int64"),
                       "priority": np.full(len(chunk), "medium")})
              for chunk in chunks(source, form)]
    def repetition() -> int:
        with open(target, "wb") as file:
            return sum(file.write(chunk_bytes(chunk, added, form)) for chunk, added in pieces)
    return repetition
