"""Datasets: loading, splitting, checking, digests."""

from martensite.data.checks import check_inputs, check_labels
from martensite.data.dataset import Dataset
from martensite.data.load import load_data

__all__ = ["Dataset", "check_inputs", "check_labels", "load_data"]
