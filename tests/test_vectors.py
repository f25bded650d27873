"""Vector files: every format, files of other programs, hostile, damaged and very large files."""
import gzip, os, pickle, subprocess, sys, tracemalloc, zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors

from disaster_nbdev import vectors as module
from disaster_nbdev.core import UserError
from disaster_nbdev.embedding import file_matrix, file_ranks, ranks
from disaster_nbdev.vocabulary import Vocabulary, build_vocabulary
from vector_files import (EXPECTED, HEADERS, ROWS, TINY, array_file, binary, fails, put, text,
                          vec)


@pytest.fixture(scope="module")
def tiny(): return build_vocabulary(["fire fire smoke caf\u00e9"])


def refused(vocabulary: Vocabulary, path: Path) -> str:
    "Return the sentence with which a vector file is refused."
    return fails(lambda: file_matrix(vocabulary, path))


@pytest.mark.parametrize("form", ["binary", "binary with newlines", "text", "glove",
                                  "text with final spaces", "tabs", "crlf"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_format_is_detected_from_the_content(tiny, tmp_path, form, pack):
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
    for array in tmp_path.glob("*.np?"):
        array.write_bytes(array.read_bytes()[:-20])
        assert "are damaged: fetch them" in refused(tiny, tmp_path/name)
        array.unlink()
        assert f"put {name}.vectors.npy next to it" in refused(tiny, tmp_path/name)


def test_kv_of_gensim_3(tiny, tmp_path, monkeypatch):
    "gensim 3 had other names for its class, its list of words and its counts."
    import gensim.models.keyedvectors as gensim3
    def old(name): return type(name, (), {"__module__": gensim3.__name__, "__qualname__": name})
    Old, Word = old("Word2VecKeyedVectors"), old("Vocab")
    monkeypatch.setattr(gensim3, "Word2VecKeyedVectors", Old)
    monkeypatch.setattr(gensim3, "Vocab", Word)
    value = Old()
    value.index2word, value.vectors = list(TINY), np.float32(list(TINY.values()))
    value.vocab = {word: Word() for word in TINY}
    found = file_matrix(tiny, put(tmp_path, "old.kv", pickle.dumps(value, 2)))
    np.testing.assert_array_equal(found, EXPECTED)


def harmful(path):
    "Return objects whose pickles would create `path` when opened."
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
    said = refused(tiny, path)
    assert "hostile.kv was not opened" in said and "does not belong" in said
    assert not list(tmp_path.glob("harm*"))
    pickle.loads(gzip.decompress(path.read_bytes()) if pack is gzip.compress else path.read_bytes())
    assert list(tmp_path.glob("harm*"))                         # Python's own reader does run it


def test_hostile_array_next_to_a_kv(tiny, tmp_path):
    "An .npy of objects is a pickle too, and numpy can be made to read a bare pickle."
    vectors = KeyedVectors(3)
    vectors.add_vectors(list(TINY), np.float32(list(TINY.values())))
    vectors.save(str(tmp_path/"v.kv"), sep_limit=0)
    bomb = harmful(tmp_path/"harm")[0]
    np.save(tmp_path/"objects.npy", np.array([[bomb]], object), allow_pickle=True)
    for content in ((tmp_path/"objects.npy").read_bytes(), pickle.dumps(bomb)):
        put(tmp_path, "v.kv.vectors.npy", content)
        assert "damaged" in refused(tiny, tmp_path/"v.kv")
        assert not (tmp_path/"harm").exists()


def test_broken_kv(tiny, tmp_path):
    vectors = KeyedVectors(3)
    vectors.add_vectors(list(TINY), np.float32(list(TINY.values())))
    whole = pickle.dumps(vectors, 4)
    for end in range(2, len(whole), 7):
        assert "damaged pickle" in refused(tiny, put(tmp_path, "cut.kv", whole[:end]))
    said = refused(tiny, put(tmp_path, "list.kv", pickle.dumps([1])))
    assert "holds no gensim KeyedVectors" in said
    vectors.index_to_key = [*TINY, "one", "too many"]
    said = refused(tiny, put(tmp_path, "m.kv", pickle.dumps(vectors)))
    assert "names 5 words but holds vectors of shape (3, 3)" in said
    vectors.vectors = np.arange(9).reshape(3, 3)
    assert "not an array of floats" in refused(tiny, put(tmp_path, "i.kv", pickle.dumps(vectors)))


def test_changed_bytes_of_a_kv_never_escape(tiny, tmp_path):
    "With any one byte changed, the result is a matrix or a sentence."
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
        said = refused(tiny, put(tmp_path, "cut.bin", whole[:-cut]))
        assert f"cut.bin breaks off after {count} of 3 vectors" in said


def test_truncated_text(tiny, tmp_path):
    lines = text(TINY).splitlines(True)
    said = refused(tiny, put(tmp_path, "a", b"".join(lines[:-2])))
    assert "breaks off after 1 of 3 vectors" in said and "write '1 3' in its first line" in said
    # two of three, and the last without its line break
    cut = b"".join(lines[:-1]).rstrip(b"\n")
    assert "breaks off after 2 of 3 vectors" in refused(tiny, put(tmp_path, "a", cut))
    said = refused(tiny, put(tmp_path, "b", b"".join(lines)[:-6]))
    assert "line 4: the row does not hold a word and 3 numbers" in said


@pytest.mark.parametrize("content, said", [
    (b"", "not a vector file"), (b"\n\n", "not a vector file"),
    (b"id,text\n1,Fire in the hills\n", "not a vector file"),
    (b"# Vectors\n\nThese are the vectors of 2019.\n", "not a vector file"),
    (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR 1 2\n", "not a vector file"),
    (b"0 300\n", "announces 0 vectors"),
    (b"3 999999999\nfire 1\n", "announces 3 vectors of 999999999 numbers"),
    (b"PK\x03\x04rest", "zip archive"), (bytes(range(256))*50, "not a vector file")])
def test_not_a_vector_file(tiny, tmp_path, content, said):
    assert said in refused(tiny, put(tmp_path, "some.file", content))


@pytest.mark.parametrize("bad", ["nan", "-inf", "1e39"])
def test_vectors_with_nan_or_infinity(tiny, tmp_path, bad):
    for form in (text, partial(text, header=False), binary):
        with np.errstate(over="ignore"): content = form({**TINY, "fire": [0.0, float(bad), 0.0]})
        said = refused(tiny, put(tmp_path, "bad", content))
        assert "the vector of 'fire' holds NaN or infinity" in said
        with np.errstate(over="ignore"): content = form({**TINY, "other": [0.0, float(bad), 0.0]})
        # a bad row that is not needed does no harm
        assert file_matrix(tiny, put(tmp_path, "unwanted", content)).any()


def test_uneven_rows(tiny, tmp_path):
    for row in (b"x 1 2\n", b"x 1 2 3 4\n", b"1 2 3\n", b"x\n"):
        for header in (b"", b"5 3\n"):
            lines = text(TINY, header=False) + row + b"y 1 2 3\n"
            said = refused(tiny, put(tmp_path, "uneven.txt", header + lines))
            line = 5 if header else 4
            assert f"uneven.txt, line {line}: the row does not hold a word and 3 numbers" in said


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
    "A chunk may end anywhere inside a row; the matrix is the same."
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
    "Write a binary of many vectors: word `k{i}`, all numbers of its row equal to i."
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
    # the list of words of a .kv must be in memory; vectors: 40 MB
    assert peak < (25_000_000 if form == "kv" else 8_000_000), peak


@pytest.mark.parametrize("newline", [b"", b"\n"])
@pytest.mark.parametrize("chunk", [1 << 8, 1 << 12, 1 << 18])
def test_a_binary_equals_its_definition_row_by_row(tmp_path, monkeypatch, newline, chunk):
    "Compare with rows as the format defines them: repeated words, vectors full of space bytes."
    random = np.random.default_rng(chunk)
    words = [f"w{random.integers(400)}{'é' * random.integers(6)}" for _ in range(1000)]
    numbers = random.choice(np.frombuffer(b"    \n\n\n\n" + np.float32([1, -2]).tobytes(), "<f4"),
                            (1000, 3))
    rows = [word.encode() + b" " + row.tobytes() + newline for word, row in zip(words, numbers)]
    path = put(tmp_path, "v", b"1000 3\n" + b"".join(rows)
               + b"anything after the announced rows is not read")
    monkeypatch.setattr(module, "CHUNK", chunk)
    wanted = tuple(dict.fromkeys([*words[::3], "absent"]))
    found = file_matrix(Vocabulary(wanted, (1,)*len(wanted)), path)
    places = file_ranks(path, wanted)
    for word, row in zip(wanted, found[1:]):
        place = words.index(word) if word in words else None
        np.testing.assert_array_equal(row, np.zeros(3) if place is None else numbers[place])
        assert places.get(word) == place


def test_damage_after_the_last_row_of_a_gzip_is_seen(tiny, tmp_path):
    "gzip's checksum at the end detects bytes that were changed anywhere."
    whole = gzip.compress(binary(TINY))
    for damaged in (whole[:-1], whole[:-8], whole[:-8] + bytes(8)):
        assert "gzip data break off" in refused(tiny, put(tmp_path, "v.gz", damaged))
    twice = gzip.compress(binary(TINY)[:20]) + gzip.compress(binary(TINY)[20:])
    np.testing.assert_array_equal(file_matrix(tiny, put(tmp_path, "v.gz", twice)), EXPECTED)


def test_a_binary_without_any_word_is_refused_at_once(tiny, tmp_path):
    said = refused(tiny, put(tmp_path, "v", b"9 30\n" + bytes(3_000_000)))
    assert "breaks off after 0 of 9 vectors" in said


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


# Files of other programs

@pytest.fixture(scope="module")
def three():
    return build_vocabulary(["fire flood caf\u00e9"]), np.float32(
        [[0]*3, *([float(n) for n in numbers.split()] for _, numbers in ROWS)])


@pytest.mark.parametrize("words", [
    (" ",), ("  ",), ("9 11",), ("route 66", "1 1/2"), (". . .",), ("at name@domain.com",),
    ("\u00a0",), ("\u2028",), ("1999",)], ids=repr)
@pytest.mark.parametrize("header", [True, False])
def test_words_with_spaces_and_numbers_are_read(three, tmp_path, words, header):
    content = vec(*words)
    path = put(tmp_path, "v.txt", content if header else content.partition(b"\n")[2])
    np.testing.assert_array_equal(file_matrix(three[0], path), three[1])
    assert (file_ranks(path, {"fire", "caf\u00e9", *words})
            == {"fire": 0, "caf\u00e9": 2, **{word: 3 + i for i, word in enumerate(words)}})


@pytest.mark.parametrize("row, why", [
    ("x 1.5 9.5 9.5 9.5", "before them is 'x 1.5'"), ("x 15 9.5 9.5 8", "before them is 'x 15'"),
    ("x -1 9.5 9.5 9.5", "before them is 'x -1'"), ("x 9.5 9.5", "it ends with 2"),
    ("new york 9.5 9.5", "it ends with 2"), ("9.5 9.5 9.5", "it ends with 2"),
    ("x 9.5 1_0 9.5 ", "not all of the last")])
def test_an_ambiguous_row_is_refused_with_its_line(tmp_path, row, why):
    path = put(tmp_path, "v.txt", vec() + row.encode() + b"\n")
    said = refused(build_vocabulary(["x"]), path)
    assert "v.txt, line 5: " in said and why in said


@pytest.mark.parametrize("first", ["3 3", "2 3", "4 3"])
def test_the_first_line_of_fasttext_may_be_one_off(three, tmp_path, first):
    for end in ("\n", " \n", "\r\n"):
        content = vec(first=first, end=end)
        for name, written in (("v.vec", content), ("v.vec.gz", gzip.compress(content))):
            found = file_matrix(three[0], put(tmp_path, name, written))
            np.testing.assert_array_equal(found, three[1])


def test_a_first_line_with_another_number_of_numbers_is_named(three, tmp_path):
    for first in ("3 2", "3 4"):
        said = refused(three[0], put(tmp_path, "v.vec", vec(first=first)))
        assert "line 2: the row does not hold a word and" in said
        assert "as the first line announces" in said


@pytest.mark.parametrize("options", [
    {}, {"binary": True}, {"sort_attr": "length"}, {"write_header": False}, {"prefix": "*"},
    {"total_vec": 4}, {"total_vec": 9}], ids=str)
def test_what_gensim_writes(three, tmp_path, options):
    keyed = KeyedVectors(3)
    keyed.add_vectors([word for word, _ in ROWS], three[1][1:])
    keyed.set_vecattr("fire", "length", 1)
    keyed.save_word2vec_format(str(tmp_path/"v"), **options)
    if options.get("total_vec") == 9:
        assert "if it is whole, write '3 3' in its first line" in refused(three[0], tmp_path/"v")
    elif options.get("prefix"): assert not file_matrix(three[0], tmp_path/"v").any()
    else: np.testing.assert_array_equal(file_matrix(three[0], tmp_path/"v"), three[1])


def test_a_byte_order_mark_is_not_part_of_a_word(three, tmp_path):
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
        place = 0 if content.startswith(b"4 3\ncafe") else 2
        for word in ("caf\u00e9", "cafe\u0301"): assert file_ranks(path, {word}) == {word: place}


def test_other_gensim_objects_are_refused_with_advice(tiny, tmp_path):
    from gensim.models import FastText, Word2Vec
    sentences = [["fire", "smoke"]] * 5
    fast = FastText(sentences, vector_size=3, min_count=1, bucket=20)
    plain = Word2Vec(sentences, vector_size=3, min_count=1)
    for name, what, save in (("FastTextKeyedVectors", "ft.kv", fast.wv.save),
                             ("FastText", "ft.model", fast.save),
                             ("Word2Vec", "w2v.model", plain.save)):
        save(str(tmp_path/what))
        said = refused(tiny, tmp_path/what)
        assert f"it holds gensim's {name} and not its plain KeyedVectors" in said
        assert "save_word2vec_format('vectors.txt')" in said
    # the advice
    fast.wv.save_word2vec_format(str(tmp_path/"vectors.txt"))
    np.testing.assert_allclose(file_matrix(tiny, tmp_path/"vectors.txt")[1], fast.wv["fire"],
                               rtol=1e-6)
    from gensim.models.fasttext import save_facebook_model
    save_facebook_model(fast, str(tmp_path/"ft.bin"))
    said = refused(tiny, tmp_path/"ft.bin")
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
        path = put(tmp_path, name, content) if content else tmp_path/name
        assert said in refused(tiny, path), name


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_a_malformed_array_is_one_sentence(tiny, tmp_path, header):
    keyed = KeyedVectors(3)
    keyed.add_vectors(list(TINY), np.float32(list(TINY.values())))
    keyed.save(str(tmp_path/"v.kv"), sep_limit=0)
    put(tmp_path, "v.kv.vectors.npy", array_file(header))
    assert "The vectors next to" in refused(tiny, tmp_path/"v.kv")
    with zipfile.ZipFile(tmp_path/"zip", "w") as archive:
        archive.writestr("a.npy", array_file(header))
    # numpy would open it as a folder of arrays
    put(tmp_path, "v.kv.vectors.npy", (tmp_path/"zip").read_bytes())
    assert "The vectors next to" in refused(tiny, tmp_path/"v.kv")


# Ranks

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
    monkeypatch.setattr(module, "CHUNK", 1 << 8 if form == "binary" else 1 << 20)
    wanted = {"w0", "w3", "w499", "caf\u00e9", "absent", "\ud800"}
    assert (file_ranks(path, wanted) == ranks(str(path), iter(wanted))
            == {"w0": 0, "w3": 3, "w499": 499, "caf\u00e9": 500})
    assert file_ranks(path, set()) == {}


def test_ranks_of_damaged_files(tmp_path):
    for content, why in [(binary(TINY)[:-1], "breaks off after 2 of 3 vectors"),
                         (text(TINY)[:-6], "line 4: the row does not hold"),
                         (b"hello", "not a vector file")]:
        path = put(tmp_path, "cut", content)
        assert why in fails(lambda: file_ranks(path, {"fire"}))
