"""From a trained dense model to its Ghost version, by computation alone."""
