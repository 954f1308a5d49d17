"""Rounding: why a bound computed in float64 is a bound in real arithmetic.

A sum of n products, in any order, with or without fused multiply-adds, is off by at most gamma_n = n u / (1 - n u) times the sum
of the products' absolute values, u = 2^-53 (Higham 2002, "Accuracy and stability of numerical algorithms", sec. 3.1). That is all
that is used.

Let S be at least the absolute value of everything that one layer adds up: of each |w| |z| summed over a row, of the bias, and of
the layer's outputs. Then

- interval arithmetic: a computed centre or radius of an output is off by at most gamma_n S;
- a backward step: the row a, as computed, is what bounds the margin from then on. The step to a W adds up at most n terms
  an entry, each entry is off by gamma_n sum |a| |w|, and multiplied with |z| and summed that is at most gamma_n |a|_1 S. The same
  holds for the constant a b and for the lines of a relaxation, whose slopes and intercepts count as given: they are chosen so
  that the lines are bounds whatever the rounding (see `relaxations`). So gamma_n |a|_1 S is taken off at every layer.

`slack` is at least twice gamma_n for all n that occur in a network, plus what a few more operations in a row cost. Underflow is
not counted: it is below 1e-300. The model itself answers in its own precision, mostly float32; its logits differ from those of
real arithmetic by some 1e-6, and the certificate is about the latter.
"""

UNIT = 2.0**-53


def slack(terms: int, layers: int) -> float:
    """A factor that covers the rounding of any sum of this many products in a network of so many layers."""
    return 4.0 * (terms + layers + 32) * UNIT
