"""The Open Inference Protocol v2 over HTTP: JSON, and its binary tensor extension.

https://github.com/kserve/open-inference-protocol (inference_rest.md); the extension is Triton's
``extension_binary_data``, which KServe's and Triton's clients speak.
"""
