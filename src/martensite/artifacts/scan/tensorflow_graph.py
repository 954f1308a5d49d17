"""TensorFlow graphs: SavedModel and frozen graphs may hold operators that read, write or call, and run when the model does.

https://github.com/tensorflow/tensorflow/blob/master/SECURITY.md: "TensorFlow models are programs". The field numbers are those of
saved_model.proto, meta_graph.proto, graph.proto, function.proto and node_def.proto.
"""

from collections.abc import Iterator

from martensite.artifacts.scan.configuration import judge_json
from martensite.artifacts.scan.hdf5 import documents
from martensite.artifacts.scan.protobuf import fields, inside, text
from martensite.artifacts.scan.source import Source
from martensite.artifacts.scan.visit import Visit
from martensite.artifacts.scan.words import words

DANGEROUS = words(
    """
    ReadFile WriteFile MatchingFiles PyFunc PyFuncStateless EagerPyFunc DatasetToTFRecord SaveDataset SaveDatasetV2
    LoadDataset DebugIdentity DebugIdentityV2 DebugIdentityV3 LMDBReader WriteAudioSummary WriteGraphSummary
    WriteRawProtoSummary CreateSummaryFileWriter CreateSummaryDbWriter RpcCall RpcServer ImportEvent
    GenerateBigQueryReaderPartitions BigQueryReader SqlDataset ExperimentalSqlDataset
    """
)
FILES = words(
    """
    WholeFileReader WholeFileReaderV2 TextLineReader TextLineReaderV2 FixedLengthRecordReader FixedLengthRecordReaderV2
    TFRecordReader TFRecordReaderV2 TextLineDataset TFRecordDataset TFRecordDatasetV2 FixedLengthRecordDataset
    FixedLengthRecordDatasetV2 ImmutableConst CacheDataset CacheDatasetV2 SnapshotDataset SnapshotDatasetV2 PrintV2
    DataServiceDataset DataServiceDatasetV2 IteratorFromStringHandle MergeV2Checkpoints
    """
)
USUAL_IN_SAVERS = frozenset({"MergeV2Checkpoints"})
REMEDY = "run it only where it may read and write nothing, or get the weights as safetensors"


def plausible(source: Source, kind: str) -> bool:
    """Its first node, if it has any, has a name and an operator."""
    if kind == "keras-metadata":
        return (
            any(number == 5 for node in inside(source, 1) for number, _ in fields(node)) and next(documents(source), b"") != b""
        )
    if kind == "savedmodel":
        return next(inside(source, 2, 2), None) is not None or next(inside(source, 2, 1), None) is not None
    node = next(inside(source, 1), None)
    return node is not None and {1, 2} <= {number for number, value in fields(node) if isinstance(value, Source)}


def inspect(visit: Visit, kind: str) -> None:
    """Every operator of every function; Keras's configurations beside them."""
    if kind == "keras-metadata":
        for document in documents(visit.source):
            judge_json(visit, document)
        return
    for operator in {text(one) for one in _operators(visit, kind)}:
        if operator in DANGEROUS:
            visit.report(
                "tensorflow-operator", "dangerous", f"its operator {operator} reads or writes files, or calls out", REMEDY
            )
        elif operator in FILES - USUAL_IN_SAVERS:
            visit.report("tensorflow-operator", "suspicious", f"its operator {operator} can touch files", REMEDY)


def _operators(visit: Visit, kind: str) -> Iterator[Source]:
    graphs = inside(visit.source, 2, 2) if kind == "savedmodel" else iter([visit.source])
    for graph in graphs:
        visit.tick()
        yield from inside(graph, 1, 2)
        yield from inside(graph, 2, 1, 3, 2)
