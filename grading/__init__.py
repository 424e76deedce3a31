"""The grader: hand-ins and the examiner's answer keys go in, points with a reason each come out.

    python -m grading.score --submission HANDIN --answers DIR                  one folder or archive
    python -m grading.score --submissions DIR --answers DIR --out DIR          a whole class

Standard library only, Python 3.9 or newer; the folder `grading/` can be copied to a bare machine and works there.
A submission is read as bytes: nothing in it is imported, unpickled or believed about itself. Start the grader from
your own checkout and name the submission with `--submission`: `python -m` puts the current folder on the import
path, so started *inside* a submission it would run the submission's `grading/` and its `json.py`. `docs/grading.md` says
all that it takes, and what each key of a report means.

The way of one hand-in: `handin` opens it (`archive` unpacks it) as a `submission`; `exam` asks `records`, `adapter` and
`predictions` for the verdicts of the `rubric` and `advice` for what carries no points; `report` writes it down. A class:
`classroom` has each graded by a `child` into a `card`; `similarity` and `leaderboard` compare the cards.

What it does not cover:

* Predictions may not come from the adapter: it is never loaded, so a result file made any other way scores. `--rerun N`
  has the runner predict N rows again; it carries no points, and it hands a stranger's adapter to PEFT.
* An adapter may do nothing useful. Of its values the grader knows only that they are finite and that some `lora_B` is not
  zero; with an initialisation that starts `lora_B` non-zero (PiSSA, OLoRA, LoftQ) the second proves nothing, and the
  report says so. That it fits its base model is known where `--base` is given, of the modules whose shapes are known.
* Records are looked at for their shape. Whether their text is the exam's is asked where `--data` is given, without points.
* Labels are those of the answer key, so a label that no key line uses is a wrong one.
* A report holds counts, never an answer. Whoever may grade again and again with the key still learns an answer from
  the accuracy of two results that differ in one line, or of one that has a single label: give the key to nobody who is
  being graded.
* Hard links out of the submission cannot be told from its own files.
* The limits of a child process bound what it takes, they are no sandbox: it has the examiner's rights. Grade strangers'
  work as a user who owns nothing else.
"""
