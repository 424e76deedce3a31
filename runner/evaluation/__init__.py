"""The evaluation on the hold-out: metrics of probabilities, plain baselines, what to expect in the exam, the rows' file."""
