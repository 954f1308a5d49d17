"""What a pickle may import: classes and functions that read their arguments and do nothing else.

A list of what is allowed, as in torch's ``weights_only`` loader: what isn't here is at least suspicious. A name is
here because its call, with any arguments and any state, runs no code that the file brings, and opens nothing.
"""

import re

from martensite.artifacts.scan.words import words

HARMLESS: dict[str, str] = {
    "builtins": "object set frozenset complex slice range bytearray bytes list dict tuple int float str bool "
    "NotImplementedError ValueError KeyError TypeError Exception",
    "collections": "OrderedDict defaultdict deque Counter",
    "copyreg": "_reconstructor __newobj__ __newobj_ex__",
    "_codecs": "encode",
    "datetime": "datetime date time timedelta timezone",
    "zoneinfo": "ZoneInfo._unpickle",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "uuid": "UUID",
    "pathlib": "PosixPath PurePosixPath WindowsPath PureWindowsPath Path PurePath",
    "pathlib._local": "PosixPath PurePosixPath WindowsPath PureWindowsPath Path PurePath",
    "argparse": "Namespace",
    "types": "SimpleNamespace",
    "array": "_array_reconstructor array",
    "random": "Random",
    "numpy": "dtype ndarray matrix recarray bool_ bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 intc uintc longlong "
    "ulonglong float16 float32 float64 longdouble complex64 complex128 clongdouble str_ bytes_ datetime64 timedelta64 number "
    "integer floating generic",
    "numpy._core.multiarray": "_reconstruct scalar",
    "numpy._core.numeric": "_frombuffer",
    "numpy.ma.core": "_mareconstruct MaskedArray",
    "numpy.random._pickle": "__randomstate_ctor __generator_ctor __bit_generator_ctor",
    "numpy.random._mt19937": "MT19937",
    "numpy.random._pcg64": "PCG64 PCG64DXSM",
    "numpy.random._philox": "Philox",
    "numpy.random._sfc64": "SFC64",
    "numpy.random.bit_generator": "SeedSequence __pyx_unpickle_SeedSequence",
    "joblib.numpy_pickle": "NumpyArrayWrapper",
    "pandas": "DataFrame Series Index RangeIndex MultiIndex Timestamp Timedelta Categorical",
    "pandas.core.frame": "DataFrame",
    "pandas.core.series": "Series",
    "pandas.core.internals.managers": "BlockManager SingleBlockManager",
    "pandas.core.indexes.base": "_new_Index Index",
    "pandas.core.indexes.range": "RangeIndex",
    "pandas.core.indexes.multi": "MultiIndex",
    "pandas.core.indexes.numeric": "Int64Index Float64Index UInt64Index",
    "pandas.core.indexes.datetimes": "DatetimeIndex _new_DatetimeIndex",
    "pandas.core.indexes.category": "CategoricalIndex",
    "pandas.core.arrays.categorical": "Categorical",
    "pandas.core.dtypes.dtypes": "CategoricalDtype DatetimeTZDtype",
    "pandas.core.arrays.string_": "StringArray StringDtype",
    "pandas._libs.internals": "_unpickle_block",
    "pandas._libs.arrays": "__pyx_unpickle_NDArrayBacked",
    "pandas._libs.tslibs.timestamps": "_unpickle_timestamp",
    "torch": "Size Tensor device dtype "
    "FloatStorage DoubleStorage HalfStorage BFloat16Storage LongStorage IntStorage ShortStorage "
    "CharStorage ByteStorage BoolStorage ComplexFloatStorage ComplexDoubleStorage QUInt8Storage QInt8Storage QInt32Storage "
    "QUInt4x2Storage QUInt2x4Storage UntypedStorage float float16 float32 float64 double half bfloat16 int int8 int16 int32 "
    "int64 long short uint8 uint16 uint32 uint64 bool complex64 complex128 complex32 float8_e4m3fn float8_e5m2 float8_e4m3fnuz "
    "float8_e5m2fnuz qint8 quint8 qint32 strided sparse_coo per_tensor_affine per_channel_affine contiguous_format "
    "preserve_format channels_last BoolTensor FloatTensor DoubleTensor HalfTensor LongTensor IntTensor ByteTensor",
    "torch.storage": "UntypedStorage TypedStorage",
    "torch._tensor": "_rebuild_from_type_v2 Tensor",
    "torch._utils": "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter _rebuild_parameter_with_state "
    "_rebuild_qtensor _rebuild_sparse_tensor _rebuild_meta_tensor_no_storage _rebuild_nested_tensor "
    "_rebuild_wrapper_subclass _rebuild_device_tensor_from_numpy _rebuild_device_tensor_from_cpu_tensor",
    "torch.nn.parameter": "Parameter Buffer UninitializedParameter UninitializedBuffer",
    "torch.serialization": "_get_layout",
    "torch.torch_version": "TorchVersion",
    "torch.jit._pickle": "build_intlist build_doublelist build_boollist build_tensorlist restore_type_tag build_tensor_from_id",
    "sklearn.tree._tree": "Tree",
    "sklearn.utils._bunch": "Bunch",
    "sklearn.calibration": "_CalibratedClassifier _SigmoidCalibration",
    "sklearn.ensemble._gb_losses": "BinomialDeviance MultinomialDeviance LeastSquaresError ExponentialLoss",
    "sklearn.ensemble._hist_gradient_boosting.binning": "_BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor": "TreePredictor",
    "sklearn.neighbors._kd_tree": "KDTree KDTree64 KDTree32 newObj",
    "sklearn.neighbors._ball_tree": "BallTree BallTree64 BallTree32 newObj",
    "sklearn.metrics._dist_metrics": "EuclideanDistance EuclideanDistance64 EuclideanDistance32 ManhattanDistance "
    "ManhattanDistance64 ManhattanDistance32 MinkowskiDistance MinkowskiDistance64 MinkowskiDistance32 newObj",
    "sklearn.gaussian_process._gpc": "_BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels": "RBF Matern ConstantKernel WhiteKernel Sum Product DotProduct RationalQuadratic "
    "ExpSineSquared Exponentiation CompoundKernel",
    "sklearn.linear_model._sgd_fast": "Hinge Log Huber SquaredLoss EpsilonInsensitive ModifiedHuber SquaredHinge",
    "sklearn.neural_network._stochastic_optimizers": "AdamOptimizer SGDOptimizer",
    "sklearn.random_projection": "GaussianRandomProjection SparseRandomProjection",
    "sklearn.feature_extraction.text": "CountVectorizer TfidfVectorizer TfidfTransformer HashingVectorizer",
    "sklearn._loss.link": "IdentityLink LogLink LogitLink HalfLogitLink MultinomialLogit Interval",
    "sklearn._loss._loss": "CyHalfSquaredError CyHalfBinomialLoss CyHalfMultinomialLoss CyHalfPoissonLoss CyAbsoluteError "
    "CyPinballLoss CyHalfGammaLoss CyHalfTweedieLoss CyHuberLoss CyExponentialLoss __pyx_unpickle_CyHalfSquaredError "
    "__pyx_unpickle_CyHalfBinomialLoss __pyx_unpickle_CyHalfMultinomialLoss",
    "sklearn._loss.loss": "HalfSquaredError HalfBinomialLoss HalfMultinomialLoss HalfPoissonLoss AbsoluteError PinballLoss "
    "HalfGammaLoss HalfTweedieLoss HuberLoss ExponentialLoss",
}  # fmt: skip

ESTIMATORS = words(
    """
    ARDRegression AdaBoostClassifier AdaBoostRegressor AdditiveChi2Sampler AffinityPropagation AgglomerativeClustering
    BaggingClassifier BaggingRegressor BayesianGaussianMixture BayesianRidge BernoulliNB BernoulliRBM Binarizer Birch
    BisectingKMeans CCA CalibratedClassifierCV CategoricalNB ClassicalMDS ClassifierChain ColumnTransformer ComplementNB
    DBSCAN DecisionTreeClassifier DecisionTreeRegressor DictVectorizer DictionaryLearning DummyClassifier DummyRegressor
    ElasticNet ElasticNetCV EllipticEnvelope EmpiricalCovariance ExtraTreeClassifier ExtraTreeRegressor
    ExtraTreesClassifier ExtraTreesRegressor FactorAnalysis FastICA FeatureAgglomeration FeatureHasher FeatureUnion
    FixedThresholdClassifier FrozenEstimator GammaRegressor GaussianMixture GaussianNB GaussianProcessClassifier
    GaussianProcessRegressor GenericUnivariateSelect GradientBoostingClassifier GradientBoostingRegressor GraphicalLasso
    GraphicalLassoCV GridSearchCV HDBSCAN HistGradientBoostingClassifier HistGradientBoostingRegressor HuberRegressor
    IncrementalPCA IsolationForest Isomap IsotonicRegression KBinsDiscretizer KMeans KNNImputer KNeighborsClassifier
    KNeighborsRegressor KNeighborsTransformer KernelCenterer KernelDensity KernelPCA KernelRidge LabelBinarizer
    LabelEncoder LabelPropagation LabelSpreading Lars LarsCV Lasso LassoCV LassoLars LassoLarsCV LassoLarsIC
    LatentDirichletAllocation LedoitWolf LinearDiscriminantAnalysis LinearRegression LinearSVC LinearSVR
    LocalOutlierFactor LocallyLinearEmbedding LogisticRegression LogisticRegressionCV MDS MLPClassifier MLPRegressor
    MaxAbsScaler MeanShift MinCovDet MinMaxScaler MiniBatchDictionaryLearning MiniBatchKMeans MiniBatchNMF
    MiniBatchSparsePCA MissingIndicator MultiLabelBinarizer MultiOutputClassifier MultiOutputRegressor MultiTaskElasticNet
    MultiTaskElasticNetCV MultiTaskLasso MultiTaskLassoCV MultinomialNB NMF NearestCentroid NearestNeighbors
    NeighborhoodComponentsAnalysis Normalizer NuSVC NuSVR Nystroem OAS OPTICS OneClassSVM OneHotEncoder OneVsOneClassifier
    OneVsRestClassifier OrdinalEncoder OrthogonalMatchingPursuit OrthogonalMatchingPursuitCV OutputCodeClassifier PCA
    PLSCanonical PLSRegression PLSSVD PassiveAggressiveClassifier PassiveAggressiveRegressor Perceptron Pipeline
    PoissonRegressor PolynomialCountSketch PolynomialFeatures PowerTransformer QuadraticDiscriminantAnalysis
    QuantileRegressor QuantileTransformer RANSACRegressor RBFSampler RFE RFECV RadiusNeighborsClassifier
    RadiusNeighborsRegressor RadiusNeighborsTransformer RandomForestClassifier RandomForestRegressor RandomTreesEmbedding
    RandomizedSearchCV RegressorChain Ridge RidgeCV RidgeClassifier RidgeClassifierCV RobustScaler SGDClassifier
    SGDOneClassSVM SGDRegressor SVC SVR SelectFdr SelectFpr SelectFromModel SelectFwe SelectKBest SelectPercentile
    SelfTrainingClassifier SequentialFeatureSelector ShrunkCovariance SimpleImputer SkewedChi2Sampler SparseCoder
    SparsePCA SpectralBiclustering SpectralClustering SpectralCoclustering SpectralEmbedding SplineTransformer
    StackingClassifier StackingRegressor StandardScaler TSNE TargetEncoder TheilSenRegressor TransformedTargetRegressor
    TruncatedSVD TunedThresholdClassifierCV TweedieRegressor VarianceThreshold VotingClassifier VotingRegressor
    """
)
LAYERS = words(
    """
    Linear Bilinear Identity Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d BatchNorm1d BatchNorm2d
    BatchNorm3d SyncBatchNorm LayerNorm GroupNorm InstanceNorm1d InstanceNorm2d InstanceNorm3d RMSNorm LocalResponseNorm
    ReLU ReLU6 LeakyReLU PReLU ELU SELU CELU GELU SiLU Mish Sigmoid Tanh Softplus Softsign Softmax LogSoftmax Hardtanh
    Hardswish Hardsigmoid Threshold Dropout Dropout1d Dropout2d Dropout3d AlphaDropout MaxPool1d MaxPool2d MaxPool3d
    AvgPool1d AvgPool2d AvgPool3d AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d
    AdaptiveMaxPool2d AdaptiveMaxPool3d Flatten Unflatten Sequential ModuleList ModuleDict ParameterList ParameterDict
    Embedding EmbeddingBag RNN LSTM GRU RNNCell LSTMCell GRUCell MultiheadAttention NonDynamicallyQuantizableLinear
    Transformer TransformerEncoder TransformerDecoder TransformerEncoderLayer TransformerDecoderLayer Upsample
    PixelShuffle PixelUnshuffle ZeroPad2d ReflectionPad2d ReplicationPad2d CrossEntropyLoss MSELoss L1Loss NLLLoss BCELoss
    BCEWithLogitsLoss KLDivLoss SmoothL1Loss HuberLoss
    """
)
SPARSE = words(
    """
    csr_matrix csc_matrix coo_matrix bsr_matrix dia_matrix dok_matrix lil_matrix csr_array csc_array coo_array
    """
)
DTYPES = frozenset(
    f"{kind}DType"
    for kind in words(
        "Bool Int8 Int16 Int32 Int64 UInt8 UInt16 UInt32 UInt64 Float16 Float32 Float64 Str Bytes Complex64 Complex128"
    )
)

FAMILIES = (  # a module by its shape, and the classes that may come from it
    (re.compile(r"sklearn(\.[a-z_]+){1,4}"), ESTIMATORS),
    (re.compile(r"torch\.nn\.modules\.[a-z_]+"), LAYERS),
    (re.compile(r"torch\.optim\.[a-z_]+"), words("Adam AdamW SGD RMSprop Adagrad Adadelta NAdam RAdam Adamax LBFGS")),
    (re.compile(r"scipy\.sparse(\._?[a-z]+)?"), SPARSE),
    (re.compile(r"numpy\.dtypes"), DTYPES),
)
ALIASES = {"numpy.core.multiarray": "numpy._core.multiarray", "numpy.core.numeric": "numpy._core.numeric", "copy_reg": "copyreg"}
_SETS = {module: frozenset(names.split()) for module, names in HARMLESS.items()}


def harmless(module: str, name: str) -> bool:
    """Whether this very name of this very module is known to do no harm."""
    module = ALIASES.get(module, module)
    if name in _SETS.get(module, ()):
        return True
    return any(name in names and shape.fullmatch(module) for shape, names in FAMILIES)
