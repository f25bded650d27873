"""Check what the environment may affect: Keras's settings, locale, home, threads."""
import ast
import json
import os
import subprocess
import sys

import pytest

from conftest import LONG, ROOT, run

STATE = """
import json
from disaster_nbdev.backend import environment
from disaster_nbdev import model
import keras
found = environment()
found["layer"] = keras.layers.Dense(1).dtype_policy.name
found["limits"] = [keras.config.max_epochs(), keras.config.max_steps_per_epoch()]
print(json.dumps(found))
"""
OURS = {"backend": "tensorflow", "floatx": "float32", "dtype_policy": "float32",
        "image_data_format": "channels_last", "layer": "float32", "limits": [None, None]}


def python(code, **environment):
    """Run code in a new process, and return its last line, read as JSON."""
    answer = run(sys.executable, "-c", code, **environment)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


def chosen(found):
    """Return the settings that the project fixes."""
    return {name: found[name] for name in OURS}


@pytest.mark.parametrize("settings", [
    '{"floatx": "float16", "epsilon": 0.01, "backend": "jax", "image_data_format": '
    '"channels_first"}', '{"floatx": "float8"}', '{"epsilon": 1}', "[1]", "{",
], ids=["another", "unknown floatx", "wrong epsilon", "no object", "broken"])
def test_settings_of_keras_in_the_home_decide_nothing(settings, tmp_path):
    (tmp_path/".keras").mkdir()
    (tmp_path/".keras"/"keras.json").write_text(settings, encoding="utf-8")
    assert chosen(python(STATE, HOME=str(tmp_path))) == OURS
    assert (tmp_path/".keras"/"keras.json").read_text(encoding="utf-8") == settings


def test_variables_of_keras_decide_nothing(tmp_path):
    (tmp_path/"keras.json").write_text('{"floatx": "float64"}', encoding="utf-8")
    found = python(STATE, KERAS_BACKEND="jax", KERAS_HOME=str(tmp_path), KERAS_MAX_EPOCHS="1",
                   KERAS_MAX_STEPS_PER_EPOCH="1")
    assert chosen(found) == OURS
    assert list(tmp_path.iterdir()) == [tmp_path/"keras.json"]


def test_settings_of_a_keras_that_was_imported_before_are_set_back():
    before = """
import keras
keras.config.set_floatx("float16")
keras.config.set_dtype_policy("mixed_bfloat16")
"""
    assert chosen(python(before + STATE)) == OURS


def test_another_library_under_keras_is_refused_in_one_sentence():
    code = """
import sys, types, json
other = types.ModuleType("keras")
other.backend = types.SimpleNamespace(backend=lambda: "jax")
sys.modules["keras"] = other
try: import disaster_nbdev.backend
except ValueError as error: print(json.dumps([type(error).__name__, str(error)]))
"""
    assert python(code) == ["UserError", "Keras was imported with jax before this project, which "
                            "needs TensorFlow: start a new process."]


def test_what_is_left_to_decide_is_told():
    found = python(STATE, TF_NUM_INTRAOP_THREADS="3", TF_NUM_INTEROP_THREADS="2",
                   OMP_NUM_THREADS="3", TF_ENABLE_ONEDNN_OPTS="0",
                   XLA_FLAGS="--xla_dump_to=/tmp/nowhere")
    assert found["threads"] == {"intra_op": 3, "inter_op": 2}
    assert found["onednn"] is False
    assert found["deterministic_ops"] is False
    assert found["switches"]["OMP_NUM_THREADS"] == "3"
    assert found["switches"]["XLA_FLAGS"] == "--xla_cpu_multi_thread_eigen=false"
    plain = python("import tensorflow as tf; "
                   "tf.config.threading.set_intra_op_parallelism_threads(5); "
                   "tf.config.experimental.enable_op_determinism()\n" + STATE,
                   TF_NUM_INTRAOP_THREADS="3")
    assert plain["threads"]["intra_op"] == 5 and plain["deterministic_ops"] is True


def test_the_encoder_has_the_same_settings(tmp_path):
    from disaster_nbdev.pretrained import installed
    if not installed("minilm"): pytest.skip("the extra `encoder` is not installed")
    (tmp_path/".keras").mkdir()
    (tmp_path/".keras"/"keras.json").write_text('{"floatx": "float16", "backend": "jax"}',
                                                encoding="utf-8")
    code = """
import json
from disaster_nbdev.pretrained import ENCODERS
print(json.dumps(ENCODERS["minilm"].backbone().dtype_policy.name))
"""
    assert python(code, HOME=str(tmp_path)) == "float32"


@pytest.mark.parametrize("surroundings", [
    {"LC_ALL": "C", "PYTHONUTF8": "0"}, {"LC_ALL": "tr_TR.UTF-8"}, {"PYTHONIOENCODING": "latin-1"},
    {"TZ": "Pacific/Kiritimati"}], ids=str)
def test_the_command_works_in_any_locale(surroundings, tmp_path):
    folder = tmp_path/"d\u00f6ner \u6f22"
    folder.mkdir()
    for name in ("train.csv", "test.csv"):
        (folder/name).write_bytes((ROOT/"data"/"sample"/name).read_bytes())
    def show():
        return subprocess.run(["disaster", "data", "show", "--data", str(folder)], timeout=LONG,
                              capture_output=True, env={**os.environ, **surroundings})
    answer = show()
    assert answer.returncode == 0 and b"Traceback" not in answer.stderr, answer.stderr
    (folder/"train.csv").write_text("id,keyword,location,text,target\n1,,,\u6f22,x\n",
                                    encoding="utf-8")
    answer = show()
    assert answer.returncode == 2
    assert b"Traceback" not in answer.stderr
    assert b"row 2" in answer.stderr


def opens_text(call: ast.Call) -> bool:
    """Return whether a call reads or writes text in the encoding of the locale."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in given: return False
    if name in ("run", "Popen", "check_output"):
        return "text" in given or "universal_newlines" in given
    if name == "write_text" or name == "read_text" and isinstance(call.func, ast.Attribute):
        return True
    if name not in ("open", "fdopen"): return False
    owner = getattr(call.func.value, "id", "") if isinstance(call.func, ast.Attribute) else "os"
    if owner not in ("os", "gzip") and len(call.args) > 1: return False
    mode = given.get("mode", call.args[1] if len(call.args) > 1 else call.args[0]
                     if isinstance(call.func, ast.Attribute) and call.args else ast.Constant("r"))
    return isinstance(mode, ast.Constant) and isinstance(mode.value, str) and "b" not in mode.value


MODULES = sorted((ROOT/"disaster_nbdev").glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_text_is_read_or_written_in_the_encoding_of_the_locale(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
             if isinstance(node, ast.Call)]
    assert [ast.unparse(call) for call in calls if opens_text(call)] == []
