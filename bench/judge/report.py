"""What was counted, and what is wrong: the first few of each kind, and how many there were."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any


class Report:
    """What was counted, and what is wrong: the first few of each kind, and how many there were."""

    def __init__(self) -> None:
        self.figures: dict[str, Any] = {}
        self.wrong: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = defaultdict(list)

    def fault(self, kind: str, says: object) -> None:
        self.wrong[kind] += 1
        if len(self.examples[kind]) < 6:
            self.examples[kind].append(str(says)[:400])

    def __str__(self) -> str:
        lines = [f"{key}: {value}" for key, value in self.figures.items()]
        for kind, count in self.wrong.items():
            lines.append(f"WRONG {kind}: {count}")
            lines += [f"    {example}" for example in self.examples[kind]]
        return "\n".join([*lines, "verdict: " + ("WRONG" if self.wrong else "right")])
