"""Models: the torch `Classifier`, black boxes, and architectures by name."""

from martensite.models.access import Access, Model
from martensite.models.architecture import ARCHITECTURES, Architecture, build
from martensite.models.black_box import BlackBox
from martensite.models.bpda import BPDA, StraightThrough, with_bpda
from martensite.models.classifier import Classifier, check_logits, probe
from martensite.models.describe import describe
from martensite.models.endpoint import Manners, connect
from martensite.models.estimator import from_estimator, load_skops
from martensite.models.layers import Layers
from martensite.models.madry_cnn import MadryCNN
from martensite.models.mlp import MLP
from martensite.models.onnx_file import load_onnx
from martensite.models.patience import ask_patiently
from martensite.models.preact_resnet18 import PreActResNet18
from martensite.models.resnet18 import ResNet18
from martensite.models.small_cnn import SmallCNN
from martensite.models.text_transformer import TextTransformer
from martensite.models.trades_cnn import TradesCNN
from martensite.models.undisturbed import undisturbed
from martensite.models.vit_tiny import ViTTiny
from martensite.models.wide_resnet import WideResNet

__all__ = [
    "ARCHITECTURES",
    "BPDA",
    "MLP",
    "Access",
    "Architecture",
    "BlackBox",
    "Classifier",
    "Layers",
    "MadryCNN",
    "Manners",
    "Model",
    "PreActResNet18",
    "ResNet18",
    "SmallCNN",
    "StraightThrough",
    "TextTransformer",
    "TradesCNN",
    "ViTTiny",
    "WideResNet",
    "ask_patiently",
    "build",
    "check_logits",
    "connect",
    "describe",
    "from_estimator",
    "load_onnx",
    "load_skops",
    "probe",
    "undisturbed",
    "with_bpda",
]
