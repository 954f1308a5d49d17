"""Models: the torch `Classifier`, black boxes, and architectures by name."""

from martensite.models.access import Access, Model
from martensite.models.architecture import ARCHITECTURES, Architecture, build
from martensite.models.black_box import BlackBox
from martensite.models.bpda import BPDA, StraightThrough, with_bpda
from martensite.models.classifier import Classifier, check_logits, probe
from martensite.models.describe import describe
from martensite.models.layers import Layers
from martensite.models.mlp import MLP
from martensite.models.resnet18 import ResNet18
from martensite.models.small_cnn import SmallCNN
from martensite.models.vit_tiny import ViTTiny

__all__ = [
    "ARCHITECTURES",
    "BPDA",
    "MLP",
    "Access",
    "Architecture",
    "BlackBox",
    "Classifier",
    "Layers",
    "Model",
    "ResNet18",
    "SmallCNN",
    "StraightThrough",
    "ViTTiny",
    "build",
    "check_logits",
    "describe",
    "probe",
    "with_bpda",
]
