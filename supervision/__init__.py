"""What the supervisor needs and does not fit its one page: children, timers, the lake's door, answers to people."""
