"""`python -m minillm.course progress`: which exercises are right so far."""

import sys

from minillm.course.exercises import all_exercises
from minillm.course.progress import progress_file, read_progress

USAGE = "python -m minillm.course progress    which exercises are right so far"


def report() -> str:
    """A line for each lesson: how many of its exercises are right, and which are not yet."""
    kept, lines, done = read_progress(), [], 0
    by_lesson = all_exercises()
    for lesson, names in by_lesson.items():
        right = [name for name in names if kept.get(name, {}).get("right") is True]
        done += len(right)
        open_ones = ", ".join(name for name in names if name not in right) or "all right"
        lines.append(f"lesson {lesson}  {'●' * len(right)}{'○' * (len(names) - len(right))}  {open_ones}")
    lines.append(f"{done} of {sum(map(len, by_lesson.values()))} exercises are right. Kept in {progress_file()}")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Print the progress. Returns: the exit status, 2 for anything that is not asked so."""
    if arguments in (["-h"], ["--help"]):
        print(USAGE)
    elif arguments == ["progress"]:
        print(report())
    else:
        print(f"minillm.course: it knows one command:\n{USAGE}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
