# SPDX-License-Identifier: Apache-2.0
"""In which order labels are shown."""

# Also a file of the demo Space: it imports nothing of the project.

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform


def cluster_order(correlation: npt.ArrayLike) -> list[int]:
    """
    An order of the labels in which those that come together stand together.

    Average linkage of the distances 1 - correlation (the mean of both directions); the leaves are ordered so that
    neighbours are as near as the tree allows (Bar-Joseph et al., 2001, Fast Optimal Leaf Ordering for Hierarchical
    Clustering).

    Args:
        correlation (`ArrayLike` of shape `(num_labels, num_labels)`): Of at least two labels.

    Returns:
        `list[int]`: The indices of the labels.
    """
    values = np.asarray(correlation, dtype=np.float64)
    distances = 1.0 - (values + values.T) / 2.0
    tree = linkage(squareform(distances, checks=False), method="average", optimal_ordering=True)
    return [int(index) for index in leaves_list(tree)]
