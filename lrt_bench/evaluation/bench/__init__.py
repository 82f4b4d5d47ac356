"""What the rows of one pair share: states, inputs, native references, and the target's writing.

`pair_bench.PairBench` holds the parts together and owns nothing else. `states` hands in the paired states.
`inputs` are the tasks and their concepts' states. `choice_sweep` is the measurement that scores come from;
another measurement stands beside it with inputs of its own. `references` are what a row is compared with.
`writer` writes text and takes losses under steering.

Every part is made when it is first asked for: a pair whose cells are all finished runs no model.
"""
