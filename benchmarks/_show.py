"""Print saved results as Markdown tables: ``python benchmarks/_show.py quality risk``."""

import json
import sys

from _common import RESULTS, print_table


def main() -> None:
    for name in sys.argv[1:]:
        content = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
        rows = content.pop("rows")
        print(f"\n{name}: " + ", ".join(f"{key} {value}" for key, value in content.items()) + "\n")
        print_table(rows)


if __name__ == "__main__":
    main()
