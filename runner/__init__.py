"""The runner: a YAML recipe goes in, a LoRA fine-tune and its predictions come out.

The way from the command to the work: `main` → `command` → `pipeline`, which reads as the sentence
recipe → table → records → adapter → predictions. Heavy libraries are imported inside the stages that need them,
so that `--help` and `--check` answer at once.
"""

__version__ = "0.1.0"
