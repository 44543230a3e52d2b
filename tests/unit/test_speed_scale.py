"""What `python -m bench speed scale` draws."""

from __future__ import annotations

from bench.speed import scale


def test_a_plot_is_a_bar_a_cost_the_longest_of_full_width() -> None:
    said: list[str] = []
    scale.plot([("3", 1.5), ("2,000", 15.0), ("none", 0.0)], said.append)
    assert said == ["           3 |###### 1.50", "       2,000 |" + "#" * 60 + " 15.00", "        none | 0.00"]
    scale.plot([], said.append)
    assert len(said) == 3
