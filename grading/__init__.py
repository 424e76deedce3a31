"""The grader: a submission's folder and the examiner's answer keys go in, points with a reason each come out.

    python -m grading.score --submission DIR --answers DIR

Standard library only, Python 3.9 or newer; the folder `grading/` can be copied to a bare machine and works there.
A submission is read as bytes: nothing in it is imported, unpickled or believed about itself. Start the grader from
your own checkout and name the submission with `--submission`: `python -m` puts the current folder on the import
path, so started *inside* a submission it would run the submission's `grading/` and its `json.py`.

What it does not cover:

* Predictions may not come from the adapter. The adapter is never loaded, so a result file made any other way scores.
* An adapter may not fit its base model, or do nothing useful. Of its values the grader knows only that they are finite
  and that some `lora_B` is not zero; with an initialisation that starts `lora_B` non-zero (PiSSA, OLoRA, LoftQ) the
  second proves nothing, and the report says so.
* Records are looked at for their shape. Whether their text is the exam's, or dev rows sit in the training records, is
  not asked. Labels are those of the answer key, so a label that no key line uses is a wrong one.
* The report holds counts, never an answer. Whoever may grade again and again with the key still learns an answer from
  the accuracy of two results that differ in one line: give the key to nobody who is being graded.
* Hard links out of the submission cannot be told from its own files.
"""
