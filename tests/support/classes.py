"""A class for the grader's tests: submissions in a folder, graded by real child processes."""

import json
import os
import zipfile

from support import submissions

from grading.classroom.run import ClassFolders, grade_class


def run_class(exam, folder, out, jobs=2, resume=False, **more):
    """The cards by name, and the lines that were said."""
    lines = []
    cards = grade_class(exam, ClassFolders(folder, out), jobs=jobs, resume=resume, say=lines.append, **more)
    assert not (out / "work").exists()
    assert (out / "class.csv").is_file()
    assert (out / "index.html").is_file()
    return {card.name: card for card in cards}, lines


def files(path):
    return sorted(each for each in path.rglob("*") if each.is_file())


def zipped(folder, archive):
    with zipfile.ZipFile(archive, "w") as file:
        for path in files(folder):
            file.write(path, path.relative_to(folder))


def large(folder, megabytes):
    """A sound submission with an adapter so large that grading it takes a while, and next to no space on the disk."""
    submissions.write_submission(folder)
    size = megabytes << 20
    tensors = {}
    begin = 0
    for side, shape in (("A", [submissions.RANK, size // 16]), ("B", [size // 16, submissions.RANK])):
        name = f"base_model.model.model.layers.0.self_attn.q_proj.lora_{side}.weight"
        tensors[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, begin + size // 2]}
        begin += size // 2
    path = folder / "saved_model/QQP/adapter_model.safetensors"
    header = submissions.framed(json.dumps(tensors).encode())
    path.write_bytes(header)
    os.truncate(path, len(header) + size)
    return folder
