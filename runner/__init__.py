"""The runner: a YAML recipe goes in, a LoRA fine-tune and its predictions come out.

From the command to the work: `main` → `commands.run` → `pipeline` → `stages`, which turn a recipe's tables into records,
an adapter and predictions. Heavy libraries are imported inside the stages that need them, so that `--help` and `--check`
answer at once.
"""

__version__ = "0.1.0"
