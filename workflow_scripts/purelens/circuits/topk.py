"""Keep the reference images of each neuron while images stream by."""

import numpy as np
import torch


class References:
    """The images with the largest values of each neuron, over all images seen so far.

    Values descend; equal values are ordered by image id, whatever the batches. A value that is not above zero is no reference.

    Parameters
    ----------
    n_neurons
        C.
    n_references
        K.
    device
        Where the values are.

    Attributes
    ----------
    value
        (C, K) float32, 0 where there is no reference.
    image_id, position
        (C, K) int32, -1 where there is no reference.
    """

    def __init__(self, n_neurons: int, n_references: int, device: torch.device | str = "cpu") -> None:
        self.value = torch.zeros(n_neurons, n_references, device=device)
        self.image_id = torch.full((n_neurons, n_references), -1, dtype=torch.int32, device=device)
        self.position = torch.full((n_neurons, n_references), -1, dtype=torch.int32, device=device)

    @classmethod
    def of(cls, state: dict[str, np.ndarray], device: torch.device | str = "cpu") -> "References":
        """Restore what `state` returned."""
        n_neurons, n_references = state["value"].shape
        references = cls(n_neurons, n_references, device)
        for name, values in state.items():
            setattr(references, name, torch.from_numpy(values).to(device))
        return references

    def state(self) -> dict[str, np.ndarray]:
        """Return everything that is known, as arrays."""
        return {name: getattr(self, name).cpu().numpy() for name in ("value", "image_id", "position")}

    def update(self, first_id: int, value: torch.Tensor, position: torch.Tensor) -> None:
        """Add a batch of images. Batches must come in the order of the image ids.

        Parameters
        ----------
        first_id
            Id of the first image of the batch.
        value
            (b, C) largest activation over positions.
        position
            (b, C) position of that activation.
        """
        # most batches change the references of few neurons, or none
        candidates = (value > self.value[:, -1]).any(dim=0).nonzero().squeeze(1)
        if not len(candidates):
            return
        ids = torch.arange(first_id, first_id + len(value), device=value.device, dtype=torch.int32)
        columns = value[:, candidates].T
        merged = torch.cat([self.value[candidates], columns.clamp(min=0)], dim=1)
        # a stable sort keeps earlier images before later ones of the same value
        merged, order = torch.sort(merged, dim=1, descending=True, stable=True)
        kept = slice(self.value.shape[1])
        self.value[candidates] = merged[:, kept]
        for table, new in (
            (self.image_id, ids.expand(len(candidates), -1)),
            (self.position, position[:, candidates].T.int()),
        ):
            new = torch.where(columns > 0, new, -1)
            table[candidates] = torch.cat([table[candidates], new], dim=1).gather(1, order)[:, kept]
