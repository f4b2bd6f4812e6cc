"""Decompose many vectors into sparse sums of atoms at once, by orthogonal matching pursuit.

Each step takes, for every vector, the atom with the largest product with the residual, and fits all weights anew: with A the
atoms taken so far, the weights solve A A^T w = A x. The Cholesky factor of A A^T grows by a row in each step, so a step costs
two triangular solves; no Gram matrix of the whole pool is needed, which for 30,000 texts would be 7 GB.
"""

import torch

MIN_RESIDUAL = 1e-9
"""A vector is explained when no more than this share of its length is left."""

MIN_PIVOT = 1e-8
"""An atom whose squared distance from the span of those taken before is a smaller share of its length adds nothing."""


def pursue(atoms: torch.Tensor, targets: torch.Tensor, n_words: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Decompose each vector into a few atoms (Pati, Rezaiifar & Krishnaprasad 1993).

    Parameters
    ----------
    atoms
        (M, d).
    targets
        (n, d) vectors.
    n_words
        Most atoms of a vector.

    Returns
    -------
    chosen : torch.Tensor
        (n, m) atoms in the order they were taken, -1 where a vector needs no more; m is ``n_words``, or M if that is less.
    weights : torch.Tensor
        (n, m), 0 where there is no atom.
    """
    n_words = min(n_words, len(atoms))
    steps = _Steps(atoms, targets, n_words)
    for step in range(n_words):
        if not steps.take(step):
            break
    return steps.chosen, steps.weights


class _Steps:
    """The state of a pursuit: the atoms taken by each vector, and the Cholesky factor of their products."""

    def __init__(self, atoms: torch.Tensor, targets: torch.Tensor, n_words: int) -> None:
        n = len(targets)
        self._atoms, self._targets, self._residual = atoms, targets, targets.clone()
        self._length = torch.linalg.vector_norm(targets, dim=1)
        self._active = self._length > 0
        # allocated once: growing them by a row in each step would copy everything taken so far
        self._factor = torch.zeros(n, n_words, n_words, dtype=targets.dtype, device=targets.device)
        self._products = torch.zeros(n, n_words, dtype=targets.dtype, device=targets.device)
        self._taken = torch.zeros(n, n_words, targets.shape[1], dtype=targets.dtype, device=targets.device)
        self.chosen = torch.full((n, n_words), -1, dtype=torch.long, device=targets.device)
        self.weights = torch.zeros(n, n_words, dtype=targets.dtype, device=targets.device)

    def take(self, step: int) -> bool:
        """Take one more atom for each vector that is not explained; return False if no vector needs one."""
        # one product for all vectors, the most work of a step: n x M x d; a negative weight is as good as a positive one
        fit = (self._residual @ self._atoms.T).abs_()
        if step:
            # no atom is taken twice: rounding leaves a product with the residual that could be the largest
            # -1 of a vector that is explained becomes atom 0, which it does not need any more
            taken = self.chosen[:, :step].clamp(min=0)
            fit.scatter_(1, taken, -1.0)
        best = fit.argmax(dim=1)
        new = self._atoms[best]
        row, pivot = self._row(new, step)
        # texts that are nearly the same would make the factor singular; the vector then keeps the words it has
        length = torch.linalg.vector_norm(new, dim=1)
        self._active &= pivot > MIN_PIVOT * length.square()
        if not self._active.any():
            return False
        self._add(step, best, new, row, pivot)
        self._fit(step + 1)
        return True

    def _row(self, new: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the new row of the Cholesky factor, and the square of its last entry, the pivot."""
        square = new.square().sum(dim=1)
        if not step:
            return new[:, :0], square
        # the new row solves L row = A a, with a the new atom; the pivot is what this leaves of |a|^2
        products = self._taken[:, :step] @ new[..., None]
        row = torch.linalg.solve_triangular(self._factor[:, :step, :step], products, upper=False)[..., 0]
        return row, square - row.square().sum(dim=1)

    def _add(self, step: int, best: torch.Tensor, new: torch.Tensor, row: torch.Tensor, pivot: torch.Tensor) -> None:
        on = self._active
        self.chosen[on, step] = best[on]
        self._taken[on, step] = new[on]
        self._factor[on, step, :step] = row[on]
        # the factor of an explained vector goes on as the identity: all vectors stay in one batch
        self._factor[:, step, step] = torch.where(on, pivot.clamp(min=0).sqrt(), 1.0)
        # A x, the right side of the normal equations, does not change for the atoms taken before
        self._products[on, step] = (new * self._targets).sum(dim=1)[on]

    def _fit(self, n: int) -> None:
        """Fit the weights of the first n atoms anew: two triangular solves with the Cholesky factor."""
        factor, products = self._factor[:, :n, :n], self._products[:, :n, None]
        half = torch.linalg.solve_triangular(factor, products, upper=False)
        weights = torch.linalg.solve_triangular(factor.transpose(1, 2), half, upper=True)
        self.weights[:, :n] = weights[..., 0]
        # computed from the targets, not updated: errors do not add up over the steps
        self._residual = self._targets - (weights.transpose(1, 2) @ self._taken[:, :n])[:, 0]
        self._active &= torch.linalg.vector_norm(self._residual, dim=1) > MIN_RESIDUAL * self._length


def unit_atoms(embeddings: torch.Tensor, scaling: str = "unit") -> torch.Tensor:
    """Center embeddings of texts by their mean, and scale them.

    Parameters
    ----------
    embeddings
        (M, d), each of length 1.
    scaling
        ``unit``: each atom gets length 1. ``released``: as in the released program each component gets length 1 over all
        texts, so atoms of unlike lengths compete.
    """
    centered = embeddings - embeddings.mean(dim=0, keepdim=True)
    over = 1 if scaling == "unit" else 0
    length = torch.linalg.vector_norm(centered, dim=over, keepdim=True)
    return centered / length.clamp(min=1e-12)
