"""The hostile corpus: each defect by its name, what makes it, and the verdict that it must get.

A defect is made in a submission that is otherwise right, because git keeps no named pipes, sockets or links out of its tree.
"""

import json
import os
import socket
import struct
from fractions import Fraction

from support import submissions

from grading.checks import adapter

TRAIN = "pre_data/QQP/QQP_train.json"
DEV = "pre_data/QQP/QQP_dev.json"
CONFIG = "saved_model/QQP/adapter_config.json"
WEIGHTS = "saved_model/QQP/adapter_model.safetensors"
RESULT = "result/result_QQP.txt"
PEFT = "base_model.model."
STEM = "base_model.model.model.layers.0.self_attn.q_proj"
A, B = f"{STEM}.lora_A.weight", f"{STEM}.lora_B.weight"


def removed(path):
    return lambda folder: (folder / path).unlink()


def replaced(path, data):
    return lambda folder: submissions.write(folder / path, data)


def with_records(path, change):
    """The records at `path` after `change` was made to the list."""

    def build(folder):
        records = json.loads((folder / path).read_bytes())
        change(records)
        submissions.write_json(folder / path, records)

    return build


def with_config(**changes):
    return lambda folder: submissions.write_json(folder / CONFIG, submissions.adapter_config(**changes))


def with_tensors(change, header=None):
    """The weights after `change` was made to the tensors, and `header` to what the file says about them."""

    def build(folder):
        tensors = submissions.adapter_tensors()
        change(tensors)
        submissions.write(folder / WEIGHTS, submissions.safetensors(tensors, header))

    return build


def with_header(**changes):
    return with_tensors(lambda tensors: None, changes)


def emptied_folder(path):
    def build(folder):
        (folder / path).unlink()
        (folder / path).mkdir()

    return build


def linked_out(path):
    def build(folder):
        outside = folder.parent / "outside"
        (folder / path).rename(outside)
        (folder / path).symlink_to(outside)

    return build


def zero_b(tensors):
    for name in list(tensors):
        if "lora_B" in name:
            tensors[name] = submissions.floats([4, 2], [0.0, -0.0] * 4)


def cut_short(folder):
    os.truncate(folder / WEIGHTS, (folder / WEIGHTS).stat().st_size - 1)


def lengthened(folder):
    submissions.write(folder / WEIGHTS, (folder / WEIGHTS).read_bytes() + b"\0")


def too_large(folder):
    with (folder / WEIGHTS).open("r+b") as file:
        file.truncate(adapter.WEIGHTS_LIMIT + 1)  # a hole: takes no room on the disk


def pickled(folder):
    (folder / WEIGHTS).rename(folder / "saved_model/QQP/adapter_model.bin")


def chained(*builds):
    def build(folder):
        for each in builds:
            each(folder)

    return build


def piped(path):
    def build(folder):
        (folder / path).unlink()
        os.mkfifo(folder / path)

    return build


def socketed(path):
    def build(folder):
        (folder / path).unlink()
        here = os.getcwd()
        os.chdir((folder / path).parent)  # a socket's path has a short limit
        try:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind((folder / path).name)
        finally:
            os.chdir(here)

    return build


def linked_to(path, target):
    def build(folder):
        (folder / path).unlink()
        (folder / path).symlink_to(target)

    return build


SAVE = "save the adapter with PEFT: model.save_pretrained(folder, safe_serialization=True)"
FINETUNE = "train the adapter again and save it (with labeltune: --stages finetune --fresh)"
PREPARE = "write the records again: one JSON array of objects, in UTF-8 (with labeltune: --stages prepare)"
PREDICT = "write the predictions again, one label a line, in UTF-8 (with labeltune: --stages predict)"
FIX = "fix or leave out the named records, or " + PREPARE
WRITE = "write one of 0, 1 and nothing else on each of the 10 lines"
TRY = "try other settings and compare them on a hold-out of the training records"

# name, builder, check that is charged, share of it that is lost, the exact reason, the next step, checks that it blocks
DEFECTS = [
    ("train file missing", removed(TRAIN), "train file", 1, f"{TRAIN} is missing", PREPARE, ["train records"]),
    ("train file is a folder", emptied_folder(TRAIN), "train file", 1, f"{TRAIN} is a folder",
     "put a regular file there", ["train records"]),
    ("train file linked out", linked_out(TRAIN), "train file", 1, f"{TRAIN} is a link out of the submission",
     "put the file itself there", ["train records"]),
    ("train file is JSON lines", replaced(TRAIN, b"{}\n{}\n"), "train file", 1,
     f"{TRAIN} is JSON Lines, an object a line, and not one JSON array", PREPARE, ["train records"]),
    ("train file is an object", replaced(TRAIN, b"{}"), "train file", 1, f"{TRAIN} is not a JSON array", PREPARE,
     ["train records"]),
    ("no train records", replaced(TRAIN, b"[]"), "train records", 1,
     f"{TRAIN}: 0 of 0 records are well-formed; at least 1 are needed", PREPARE, []),
    ("one of four train records", with_records(TRAIN, lambda rows: rows[2].update(output=1)), "train records",
     Fraction(1, 4), f"{TRAIN}: 3 of 4 records are well-formed; the first that is not is record 3: "
     "'output' is a number, expected a string", FIX, []),
    ("label of no key line", with_records(TRAIN, lambda rows: rows[0].update(output="2")), "train records",
     Fraction(1, 4), f"{TRAIN}: 3 of 4 records are well-formed; the first that is not is record 1: "
     "'output' is '2', expected one of 0, 1", FIX, []),
    ("dev file missing", removed(DEV), "dev file", 1, f"{DEV} is missing", PREPARE, ["dev records"]),
    ("dev file not UTF-8", replaced(DEV, b'["\xe9"]'), "dev file", 1,
     f"{DEV} is not strict JSON: expected UTF-8 text, found byte 0xe9 at offset 2", PREPARE, ["dev records"]),
    ("dev records with answers", with_records(DEV, lambda rows: rows[0].update(output="1")), "dev records",
     Fraction(1, 10), f"{DEV}: 9 of 10 records are well-formed; the first that is not is record 1: "
     "key 'output' is not part of the record", PREPARE, []),
    ("two dev records too few", with_records(DEV, lambda rows: rows.__delitem__(slice(8, None))), "dev records",
     Fraction(1, 5), f"{DEV}: 8 of 8 records are well-formed; at least 10 are needed", PREPARE, []),
    ("config missing", removed(CONFIG), "config file", 1, f"{CONFIG} is missing", SAVE, ["config format"]),
    ("config repeats a key", replaced(CONFIG, b'{"r": 1, "r": 2}'), "config format", 1,
     f"{CONFIG} is not strict JSON: key 'r' is repeated in one object", SAVE, []),
    ("config is a list", replaced(CONFIG, b"[]"), "config format", 1, f"{CONFIG} is not a JSON object", SAVE, []),
    ("config of IA3", with_config(peft_type="IA3"), "config format", 1,
     f"{CONFIG} has peft_type 'IA3', expected 'LORA'", SAVE, []),
    ("rank 0", with_config(r=0), "config format", 1, f"{CONFIG} has r 0, expected a whole number > 0", SAVE, []),
    ("rank true", with_config(r=True), "config format", 1, f"{CONFIG} has r True, expected a whole number > 0",
     SAVE, []),
    ("no targets", with_config(target_modules=[]), "config format", 1,
     f"{CONFIG} has target_modules [], expected a list of names or a string", SAVE, []),
    ("rank pattern a list", with_config(rank_pattern=[4]), "config format", 1,
     f"{CONFIG} has rank_pattern [4], expected an object of whole numbers > 0", SAVE, []),
    ("weights missing", removed(WEIGHTS), "weights file", 1, f"{WEIGHTS} is missing", SAVE,
     ["weights size", "weights format", "weights trained"]),
    ("weights pickled", pickled, "weights file", 1,
     f"{WEIGHTS} is missing; adapter_model.bin is a pickle, which may run code, and is not opened", SAVE,
     ["weights size", "weights format", "weights trained"]),
    ("weights empty", replaced(WEIGHTS, b""), "weights size", 1, f"{WEIGHTS} is empty", SAVE,
     ["weights format", "weights trained"]),
    ("weights cut short", cut_short, "weights size", 1, f"{WEIGHTS} has 663 bytes, its header says 664",
     f"copy it again, or {SAVE}", ["weights trained"]),
    ("a byte after the weights", lengthened, "weights size", 1,
     f"{WEIGHTS} has 665 bytes, its header says 664", f"copy it again, or {SAVE}", ["weights trained"]),
    ("weights too large", too_large, "weights size", 1,
     f"{WEIGHTS} has 1,073,741,825 bytes, more than the limit of 1,073,741,824",
     "save the adapter alone, without the base model", ["weights trained"]),
    ("a pickle named safetensors", replaced(WEIGHTS, b"PK\x03\x04" + b"\0" * 60), "weights format", 1,
     f"{WEIGHTS}: expected a header of at most 56 bytes, found a zip archive, as torch.save writes it", SAVE,
     ["weights trained"]),
    ("a Git LFS pointer", replaced(WEIGHTS, b"version https://git-lfs.github.com/spec/v1\n"), "weights format", 1,
     f"{WEIGHTS}: expected a header of at most 35 bytes, found a Git LFS pointer instead of the file", SAVE,
     ["weights trained"]),
    ("three bytes", replaced(WEIGHTS, b"abc"), "weights format", 1,
     f"{WEIGHTS}: expected a safetensors file, found 3 bytes", SAVE, ["weights trained"]),
    ("header behind the end", replaced(WEIGHTS, struct.pack("<Q", 3) + b"{}"), "weights format", 1,
     f"{WEIGHTS}: expected a header of at most 2 bytes, found one of 3", SAVE, ["weights trained"]),
    ("header is no object", replaced(WEIGHTS, submissions.framed(b"[]")), "weights format", 1,
     f"{WEIGHTS}: the header does not start with '{{'", SAVE, ["weights trained"]),
    ("header is no JSON", replaced(WEIGHTS, submissions.framed(b'{"a": NaN}')), "weights format", 1,
     f"{WEIGHTS}: the header is not strict JSON: NaN is not a JSON value", SAVE, ["weights trained"]),
    ("metadata of numbers", with_header(__metadata__={"format": 1}), "weights format", 1,
     f"{WEIGHTS}: '__metadata__' is not an object of strings", SAVE, ["weights trained"]),
    ("tensor without dtype", with_header(**{A: {"shape": [2, 3], "data_offsets": [0, 24]}}), "weights format", 1,
     f"{WEIGHTS}: tensor '{A}': expected an object of dtype, shape and data_offsets", SAVE, ["weights trained"]),
    ("unknown dtype", with_header(**{A: {"dtype": "F12", "shape": [2, 3], "data_offsets": [0, 24]}}),
     "weights format", 1, f"{WEIGHTS}: tensor '{A}': dtype 'F12' is not one of F64, F32, F16, BF16, F8_E4M3, F8_E5M2, "
     "I64, I32, I16, I8, U64, U32, U16, U8, BOOL", SAVE, ["weights trained"]),
    ("negative shape", with_header(**{A: {"dtype": "F32", "shape": [-2, -3], "data_offsets": [0, 24]}}),
     "weights format", 1, f"{WEIGHTS}: tensor '{A}': shape is not a list of at most 8 whole numbers >= 0", SAVE,
     ["weights trained"]),
    ("shape of booleans", with_header(**{A: {"dtype": "F32", "shape": [True, 6], "data_offsets": [0, 24]}}),
     "weights format", 1, f"{WEIGHTS}: tensor '{A}': shape is not a list of at most 8 whole numbers >= 0", SAVE,
     ["weights trained"]),
    ("offsets backwards", with_header(**{A: {"dtype": "F32", "shape": [2, 3], "data_offsets": [24, 0]}}),
     "weights format", 1, f"{WEIGHTS}: tensor '{A}': data_offsets is not a pair of whole numbers, 0 <= begin <= end",
     SAVE, ["weights trained"]),
    ("size not shape x dtype", with_header(**{A: {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 24]}}),
     "weights format", 1, f"{WEIGHTS}: tensor '{A}': F32 of shape [2, 4] needs 32 bytes, its offsets span 24", SAVE,
     ["weights trained"]),
    ("overlap", with_header(**{B: {"dtype": "F32", "shape": [4, 2], "data_offsets": [20, 52]}}), "weights format", 1,
     f"{WEIGHTS}: tensor '{B}' overlaps the values before it: starts at byte 20, expected 24", SAVE,
     ["weights trained"]),
    ("gap", with_header(**{A: {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}), "weights format", 1,
     f"{WEIGHTS}: tensor '{B}' leaves a gap before its values: starts at byte 24, expected 16", SAVE,
     ["weights trained"]),
    ("no pairs", with_tensors(lambda tensors: [tensors.update({name.replace("lora_", "LORA_"): tensors.pop(name)})
     for name in list(tensors)]), "weights format", 1,
     f"{WEIGHTS}: has no lora_A or lora_B with PEFT's names (...q_proj.lora_A.weight)", SAVE, ["weights trained"]),
    ("half a pair", with_tensors(lambda tensors: tensors.pop(A)), "weights format", 1,
     f"{WEIGHTS}: tensor '{B}' has no matching lora_A", SAVE, []),
    ("pair of two ranks", with_tensors(lambda tensors: tensors.update({A: submissions.floats([3, 3], [1.0] * 9)})),
     "weights format", 1, f"{WEIGHTS}: '{STEM}': lora_A has rank 3, lora_B 2", SAVE, []),
    ("rank not the config's", with_config(r=8), "weights format", 1,
     f"{WEIGHTS}: '{STEM}' has rank 2, adapter_config.json states 8", SAVE, []),
    ("one dimension", with_tensors(lambda tensors: tensors.update({A: submissions.floats([6], [1.0] * 6)})),
     "weights format", 1, f"{WEIGHTS}: tensor '{A}' has shape [6], expected two dimensions, each > 0", SAVE, []),
    ("lora_A of integers", with_tensors(lambda tensors: tensors.update({A: ("I8", [2, 3], b"\1" * 6)})),
     "weights format", 1, f"{WEIGHTS}: tensor '{A}' is I8, expected one of F64, F32, F16, BF16", SAVE, []),
    ("untrained", with_tensors(zero_b), "weights trained", 1,
     f"{WEIGHTS}: every lora_B is zero, so the adapter changes nothing", FINETUNE, []),
    ("NaN in a weight", with_tensors(lambda tensors: tensors.update({B: submissions.floats([4, 2], [float("nan")]
     + [1.0] * 7)})), "weights trained", 1, f"{WEIGHTS}: tensor '{B}' contains inf or NaN",
     f"lower the learning rate, then {FINETUNE}", []),
    ("result missing", removed(RESULT), "accuracy", 1, f"{RESULT} is missing, and so is result_QQP.txt", PREDICT, []),
    ("result not UTF-8", replaced(RESULT, b"1\n\xff\n"), "accuracy", 1,
     f"{RESULT}: expected UTF-8 text, found byte 0xff at offset 2", PREDICT, []),
    ("result empty", replaced(RESULT, b""), "accuracy", 1,
     f"{RESULT}: 0 of 10 rows are right; it has 0 lines for 10 rows, rows without a line count as wrong", WRITE, []),
    ("result too short", replaced(RESULT, b"1\n0\n0\n1\n0\n0\n1\n"), "accuracy", Fraction(3, 10),
     f"{RESULT}: 7 of 10 rows are right; it has 7 lines for 10 rows, rows without a line count as wrong", WRITE, []),
    ("result shifted by a blank line", replaced(RESULT, b"1\n\n0\n0\n1\n0\n0\n1\n0\n0\n"), "accuracy", Fraction(5, 10),
     f"{RESULT}: 5 of 10 rows are right; 1 line is not one of 0, 1 and counts as wrong, "
     "it is row 2: '', a blank line", WRITE, []),
    ("two labels that are none", replaced(RESULT, b"label: 1\n0\n\xef\xbc\x90\n1\n0\n0\n1\n0\n0\n0\n"), "accuracy",
     Fraction(2, 10), f"{RESULT}: 8 of 10 rows are right; 2 lines are not one of 0, 1 and count as wrong, "
     "the first is row 1: 'label: 1', with other words around the label", WRITE, []),
    ("three wrong", replaced(RESULT, b"0\n1\n1\n1\n0\n0\n1\n0\n0\n0\n"), "accuracy", Fraction(3, 10),
     f"{RESULT}: 7 of 10 rows are right", TRY, []),
    ("train file a named pipe", piped(TRAIN), "train file", 1, f"{TRAIN} is a named pipe", "put a regular file there",
     ["train records"]),
    ("dev file a socket", socketed(DEV), "dev file", 1, f"{DEV} is a socket", "put a regular file there",
     ["dev records"]),
    ("weights a link to a device", linked_to(WEIGHTS, "/dev/zero"), "weights file", 1,
     f"{WEIGHTS} is a link out of the submission", "put the file itself there",
     ["weights size", "weights format", "weights trained"]),
    ("config a link to itself", linked_to(CONFIG, "adapter_config.json"), "config file", 1,
     f"{CONFIG} is a link that leads to itself, or through more than 40 other links",
     "put the file itself there", ["config format"]),
    ("result a named pipe", piped(RESULT), "accuracy", 1, f"{RESULT} is a named pipe", "put a regular file there", []),
    ("result a link to the key", linked_to(RESULT, "../../answers/result_QQP_46.txt"), "accuracy", 1,
     f"{RESULT} is a link out of the submission", "put the file itself there", []),
    ("use_dora a word", with_config(use_dora="yes"), "config format", 1,
     f"{CONFIG} has use_dora 'yes', expected true or false", SAVE, []),
    ("DoRA without magnitudes", with_config(use_dora=True), "weights format", 1,
     f"{WEIGHTS}: '{STEM}' has no lora_magnitude_vector, which use_dora needs", SAVE, []),
    ("magnitude of another size", chained(with_config(use_dora=True), with_tensors(lambda tensors: tensors.update(
        {f"{STEM}.lora_magnitude_vector": submissions.floats([5], [1.0] * 5)}))), "weights format", 1,
     f"{WEIGHTS}: tensor '{STEM}.lora_magnitude_vector' has shape [5], expected 4 values", SAVE, []),
    ("magnitude without DoRA", with_tensors(lambda tensors: tensors.update(
        {f"{STEM}.lora_magnitude_vector": submissions.floats([4], [1.0] * 4)})), "weights format", 1,
     f"{WEIGHTS}: tensor '{STEM}.lora_magnitude_vector' belongs to DoRA, but adapter_config.json does not set use_dora",
     SAVE, []),
    ("magnitude beside no pair", with_tensors(lambda tensors: tensors.update(
        {f"{PEFT}x.lora_magnitude_vector": submissions.floats([4], [1.0] * 4)})), "weights format", 1,
     f"{WEIGHTS}: tensor '{PEFT}x.lora_magnitude_vector' belongs to no pair", SAVE, []),
    ("one side twice", with_tensors(lambda tensors: tensors.update(
        {A[: -len(".weight")]: submissions.floats([2, 3], [1.0] * 6)})), "weights format", 1,
     f"{WEIGHTS}: tensors '{A}' and '{A[: -len('.weight')]}' are the same side of a pair", SAVE, []),
    ("pair that is no target", with_config(target_modules=["q_proj"]), "weights format", 1,
     f"{WEIGHTS}: '{STEM.replace('q_proj', 'v_proj')}' is not in target_modules ['q_proj']", SAVE, []),
    ("target that is the end of a word", with_config(target_modules=["proj"]), "weights format", 1,
     f"{WEIGHTS}: '{STEM}' is not in target_modules ['proj']", SAVE, []),
    ("decimal labels", replaced(RESULT, b"1.0\n0.0\n0.0\n1.0\n0\n0\n1\n0\n0\n0\n"), "accuracy", Fraction(4, 10),
     f"{RESULT}: 6 of 10 rows are right; 4 lines are not one of 0, 1 and count as wrong, "
     "the first is row 1: '1.0', a decimal number", WRITE, []),
    ("full-width digits", replaced(RESULT, "１\n０\n0\n1\n0\n0\n1\n0\n0\n0\n".encode()), "accuracy", Fraction(2, 10),
     f"{RESULT}: 8 of 10 rows are right; 2 lines are not one of 0, 1 and count as wrong, "
     "the first is row 1: '１', the label in other characters", WRITE, []),
    ("spaces beside labels", replaced(RESULT, b"1 \n 0\n0\n1\n0\n0\n1\n0\n0\n0\n"), "accuracy", Fraction(2, 10),
     f"{RESULT}: 8 of 10 rows are right; 2 lines are not one of 0, 1 and count as wrong, "
     "the first is row 1: '1 ', with spaces around the label", WRITE, []),
    ("row numbers without a header", replaced(RESULT, b"0\t1\n1\t0\n0\n1\n0\n0\n1\n0\n0\n0\n"), "accuracy", Fraction(2, 10),
     f"{RESULT}: 8 of 10 rows are right; 2 lines are not one of 0, 1 and count as wrong, "
     "the first is row 1: '0\\t1', with a tab: rows are numbered from 0 below the header index, tab, prediction", WRITE, []),
    ("row numbers from 1", replaced(RESULT, b"index\tprediction\n" + b"".join(
        b"%d\t%s\n" % (row, answer.encode()) for row, answer in enumerate(submissions.ANSWERS, 1))), "accuracy", 1,
     f"{RESULT}: 0 of 10 rows are right; 10 lines are not one of 0, 1 and count as wrong, "
     "the first is row 1: '1\\t1', with a tab: rows are numbered from 0 below the header index, tab, prediction", WRITE, []),
    ("result with words", replaced(RESULT, b"yes\n0\n0\n1\n0\n0\n1\n0\n0\n0\n"), "accuracy", Fraction(1, 10),
     f"{RESULT}: 9 of 10 rows are right; 1 line is not one of 0, 1 and counts as wrong, "
     "it is row 1: 'yes', which is not a label", WRITE, []),
    ("result in one line", replaced(RESULT, b"1 0 0 1 0 0 1 0 0 0\n"), "accuracy", 1,
     f"{RESULT}: 0 of 10 rows are right; 1 line is not one of 0, 1 and counts as wrong, it is row 1: "
     "'1 0 0 1 0 0 1 0 0 0', with other words around the label; it has 1 line for 10 rows, rows without a line count as wrong",
     WRITE, []),
    ("result as JSON", replaced(RESULT, b"[1, 0]\n"), "accuracy", 1,
     f"{RESULT}: 0 of 10 rows are right; 1 line is not one of 0, 1 and counts as wrong, it is row 1: "
     "'[1, 0]', with other words around the label; it has 1 line for 10 rows, rows without a line count as wrong", WRITE, []),
    ("adapter without PEFT's prefix", with_tensors(lambda tensors: [tensors.update({name.replace(PEFT, ""):
     tensors.pop(name)}) for name in list(tensors)]), "weights format", 1,
     f"{WEIGHTS}: tensor '{A.replace(PEFT, '')}' does not start with base_model.model., as PEFT's names do", SAVE, []),
    ("one side of an embedding", with_tensors(lambda tensors: tensors.update(
        {A.replace("lora_A", "lora_embedding_A").replace(".weight", ""): tensors.pop(A)})), "weights format", 1,
     f"{WEIGHTS}: '{STEM}' has one side of a linear layer and one of an embedding", SAVE, []),
    ("rank of another module's pattern", chained(with_config(rank_pattern={"v_proj": 7})), "weights format", 1,
     f"{WEIGHTS}: '{STEM.replace('q_proj', 'v_proj')}' has rank 2, adapter_config.json states 7", SAVE, []),
    ("magnitude of booleans", chained(with_config(use_dora=True), with_tensors(lambda tensors: tensors.update(
        {f"{STEM}.lora_magnitude_vector": ("BOOL", [4], bytes(4))}))), "weights format", 1,
     f"{WEIGHTS}: tensor '{STEM}.lora_magnitude_vector' is BOOL, expected one of F64, F32, F16, BF16", SAVE, []),
    ("every lora_A zero", with_tensors(lambda tensors: tensors.update(
        {name: submissions.floats([2, 3], [0.0] * 6) for name in tensors if "lora_A" in name})), "weights trained", 1,
     f"{WEIGHTS}: every lora_A is zero, so the adapter changes nothing", FINETUNE, []),
    ("pickle of another protocol", replaced(WEIGHTS, b"\x80\x05" + b"x" * 20), "weights format", 1,
     f"{WEIGHTS}: expected a header of at most 14 bytes, found a pickle", SAVE, ["weights trained"]),
    ("tensor with an endless name", with_tensors(lambda tensors: tensors.update({"x" * 600: ("I8", [], b"1")})),
     "weights format", 1, f"{WEIGHTS}: tensor '{'x' * 80} ... {'x' * 80}' (600 characters): "
     "a name of 600 characters, more than the limit of 512",
     SAVE, ["weights trained"]),
    ("train file in UTF-16", replaced(TRAIN, "[]".encode("utf-16")), "train file", 1,
     f"{TRAIN} is not strict JSON: expected UTF-8 text, found UTF-16; save it as UTF-8", PREPARE, ["train records"]),
    ("train file in UTF-16 without a mark", replaced(TRAIN, "[]".encode("utf-16-le")), "train file", 1,
     f"{TRAIN} is not strict JSON: expected UTF-8 text, found UTF-16; save it as UTF-8", PREPARE, ["train records"]),
    ("dev file in UTF-32", replaced(DEV, "[]".encode("utf-32")), "dev file", 1,
     f"{DEV} is not strict JSON: expected UTF-8 text, found UTF-32; save it as UTF-8", PREPARE, ["dev records"]),
    ("dev file is JSON lines", replaced(DEV, b'{"input": "a"}\n{"input": "b"}'), "dev file", 1,
     f"{DEV} is JSON Lines, an object a line, and not one JSON array", PREPARE, ["dev records"]),
    ("records in an object", replaced(TRAIN, b'{"data": [' + b"{}," * 600_000 + b"{}]}"), "train file", 1,
     f"{TRAIN} is not a JSON array", PREPARE, ["train records"]),
    ("two arrays", replaced(TRAIN, b"[]\n[]"), "train file", 1,
     f"{TRAIN} is not strict JSON: line 2 cannot be read as JSON", PREPARE, ["train records"]),
    ("a comma after the last record", replaced(TRAIN, b"[\n{},\n\n]"), "train file", 1,
     f"{TRAIN} is not strict JSON: line 2 cannot be read as JSON", PREPARE, ["train records"]),
    ("a comma after the last key", replaced(TRAIN, b'[\n{"a": 1,\n}\n]'), "train file", 1,
     f"{TRAIN} is not strict JSON: line 2 cannot be read as JSON", PREPARE, ["train records"]),
    ("an endless record", replaced(TRAIN, b'[{}, {"a": "' + b"\\n" * 600_000 + b'"}]'), "train file", 1,
     f"{TRAIN} is not strict JSON: record 2 has more than 1,048,576 characters, or a string that does not end", PREPARE,
     ["train records"]),
    ("a fault at the end", replaced(TRAIN, b"[" + b"{}," * 600_000 + b"NaN]"), "train file", 1,
     f"{TRAIN} is not strict JSON: NaN is not a JSON value", PREPARE, ["train records"]),
    ("result in UTF-16", replaced(RESULT, "1\n0\n".encode("utf-16")), "accuracy", 1,
     f"{RESULT}: expected UTF-8 text, found UTF-16; save it as UTF-8", PREDICT, []),
    ("result in UTF-16, big end first", replaced(RESULT, b"\xfe\xff" + "1\n0\n".encode("utf-16-be")), "accuracy", 1,
     f"{RESULT}: expected UTF-8 text, found UTF-16; save it as UTF-8", PREDICT, []),
    ("result in UTF-16 without a mark", replaced(RESULT, "".join(f"{answer}\n" for answer in submissions.ANSWERS).encode(
        "utf-16-le")), "accuracy", 1,
     f"{RESULT}: 0 of 10 rows are right; 10 lines are not one of 0, 1 and count as wrong, the first is row 1: '1\\x00', "
     "with zero bytes, as in UTF-16; save it as UTF-8; it has 11 lines for 10 rows, the extra lines are not read", WRITE, []),
    ("config with NaN", replaced(CONFIG, b'{"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], "lora_alpha": NaN}'),
     "config format", 1, f"{CONFIG} is not strict JSON: NaN is not a JSON value", SAVE, []),
    ("lora_B of three dimensions", with_tensors(lambda tensors: tensors.update({B: submissions.floats([4, 2, 1], [1.0] * 8)})),
     "weights format", 1,
     f"{WEIGHTS}: '{STEM}': lora_A has shape [2, 3], lora_B [4, 2, 1]; expected two dimensions, or those of a convolution",
     SAVE, []),
    ("one value that is hardly more than zero", with_tensors(lambda tensors: tensors.update({
        name: submissions.floats([4, 2], [1e-45] + [0.0] * 7) for name in tensors if "lora_B" in name})), "weights trained", 1,
     f"{WEIGHTS}: nearly every value of every lora_B is zero, or smaller than 1e-12, so the adapter changes next to nothing",
     FINETUNE, []),
    ("labels 10 and 100", replaced(RESULT, b"10\n100\n0\n1\n0\n0\n1\n0\n0\n0\n"), "accuracy", Fraction(2, 10),
     f"{RESULT}: 8 of 10 rows are right; 2 lines are not one of 0, 1 and count as wrong, "
     "the first is row 1: '10', which is not a label", WRITE, []),
]  # fmt: skip
