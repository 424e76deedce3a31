"""The two errors of the grader, by whose mistake they are. Anything else that is raised is the grader's own fault."""


class CouldNotGrade(Exception):
    """A mistake of whoever started the grader: no answer key, no such folder. Exit code 2, no points for anybody.

    The message says what was expected, where, what was found, and the next step."""


class FileProblem(Exception):
    """A file of the submission that cannot be used. It costs the points of the checks that need the file."""

    def __init__(self, problem: str, next_step: str) -> None:
        super().__init__(problem)
        self.problem = problem
        """What is wrong, with the file's name inside the submission."""
        self.next_step = next_step
        """What whoever submitted should do about it."""


class FileMissing(FileProblem):
    """There is nothing at the path, so another place may be tried."""
