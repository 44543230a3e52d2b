"""What every process of the lake knows: words, pure rules, edges to the outside, and the loop that drives a stage."""
