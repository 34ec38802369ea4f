"""The sampler of fields that are not marched."""

from nerfcomp.rendering.sampler import Sampler


class NoSampler(Sampler):
    """Stands where a field needs no samples, because it draws whole pictures; has nothing to learn or to carry."""

    carried = False
